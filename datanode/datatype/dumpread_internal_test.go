package datatype

import (
	"errors"
	"testing"

	"github.com/atolldb/atoll/datanode/store"
)

// Compressed strings that are together more than a run may write are refused before they are unpacked.
func TestDumpUnpacksNoMoreThanARun(t *testing.T) {
	const packed = "\xc3\x03\x02\x01ab" // "ab"
	var buf []byte
	r := &dumpReader{b: []byte(packed + packed), unpacked: store.MaxRunBytes - 3}
	if got := r.text(&buf); string(got) != "ab" || r.err != nil {
		t.Fatalf("%q, %v", got, r.err)
	}
	if got := r.text(&buf); got != nil || !errors.Is(r.err, store.ErrTooLarge) {
		t.Errorf("%q, %v", got, r.err)
	}
}
