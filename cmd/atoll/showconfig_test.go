package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestConfigSaysWhereFrom(t *testing.T) {
	file := filepath.Join(t.TempDir(), "atoll.yaml")
	if err := os.WriteFile(file, []byte("memtable: 32MiB\nmax-clients: 7\njoin: [a:1, b:2]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	environ := []string{"ATOLL_MAX_CLIENTS=8", "ATOLL_TOKEN=a-secret", "ATOLL_CONFIG=" + file}
	code := run(t.Context(), []string{"config", "--changed", "-o", "json", "--idle-timeout", "90s", "--block-cache=256MiB"}, environ, nil, &out, &errs)
	var list []setting
	if err := json.Unmarshal(out.Bytes(), &list); code != 0 || err != nil {
		t.Fatalf("exit code %d, %v, stderr %q", code, err, errs.String())
	}
	want := []setting{
		{"config", file, "ATOLL_CONFIG"},
		{"join", "a:1,b:2", file},
		{"memtable", "32MiB", file},
		{"max-clients", "8", "ATOLL_MAX_CLIENTS"},
		{"idle-timeout", "1m30s", "--idle-timeout"},
		{"token", "(set)", "ATOLL_TOKEN"},
		{"output", "json", "--output"},
	}
	if len(list) != len(want) {
		t.Fatalf("%+v", list)
	}
	for i := range want {
		if list[i] != want[i] {
			t.Errorf("%+v, want %+v", list[i], want[i])
		}
	}
	if strings.Contains(out.String(), "a-secret") {
		t.Error("it shows the token")
	}

	out.Reset()
	if code := run(t.Context(), []string{"config"}, nil, nil, &out, &errs); code != 0 || !strings.Contains(out.String(), "resp-addr") || !strings.Contains(out.String(), "700") {
		t.Errorf("exit code %d, %q", code, out.String())
	}
	errs.Reset()
	if code := run(t.Context(), []string{"config", "--max-clients", "0"}, nil, nil, &out, &errs); code != 1 || !strings.Contains(errs.String(), "--max-clients") {
		t.Errorf("exit code %d, %q", code, errs.String())
	}
}
