package datanode

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// TestDamagedIdentity: a flipped bit or a cut is found, or changes nothing.
func TestDamagedIdentity(t *testing.T) {
	dir := t.TempDir()
	id, err := loadIdentity(dir, "n1")
	if err != nil {
		t.Fatal(err)
	}
	id.ClusterID, id.HasData, id.Joined = "c", true, json.RawMessage(`{"clusterId":"c","revision":"7"}`)
	if err := id.save(dir); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(filepath.Join(dir, identityFile))
	if err != nil {
		t.Fatal(err)
	}
	want, err := parseIdentity(good)
	if err != nil || want.ClusterID != "c" {
		t.Fatalf("%s is read as %+v, %v", good, want, err)
	}
	var compact bytes.Buffer
	same := func(got identity) bool {
		for _, r := range []*json.RawMessage{&got.Joined, &want.Joined} {
			compact.Reset()
			if err := json.Compact(&compact, *r); err != nil {
				t.Fatal(err)
			}
			*r = bytes.Clone(compact.Bytes())
		}
		return reflect.DeepEqual(got, want)
	}
	found := 0
	for i := range 8 * len(good) {
		bad := bytes.Clone(good)
		bad[i/8] ^= 1 << (i % 8)
		got, err := parseIdentity(bad)
		switch {
		case errors.Is(err, errIdentity), errors.Is(err, errFormat):
			found++
		case err != nil || !same(got):
			t.Errorf("bit %d flipped: read as %+v, %v", i, got, err)
		}
	}
	if found < 7*len(good) {
		t.Errorf("found %d of %d flipped bits", found, 8*len(good))
	}
	for i := range len(good) - 2 {
		if _, err := parseIdentity(good[:i]); !errors.Is(err, errIdentity) {
			t.Errorf("cut at %d: %v", i, err)
		}
	}
	other := bytes.Replace(good, []byte(`"format": 1`), []byte(`"format": 2`), 1)
	if _, err := parseIdentity(other); !errors.Is(err, errFormat) || !strings.Contains(err.Error(), "format 2, this program reads format 1") {
		t.Errorf("another format: %v", err)
	}
}
