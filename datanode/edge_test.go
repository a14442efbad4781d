package datanode

import (
	"math"
	"testing"
)

func TestClientsWithin(t *testing.T) {
	for files, want := range map[uint64]int{0: 1, 1: 1, 1024: 512, 20000: 20000 - ownFiles, math.MaxUint64: math.MaxInt32 - ownFiles} {
		if got := clientsWithin(files); got != want {
			t.Errorf("%d files are for %d clients, want %d", files, got, want)
		}
	}
}
