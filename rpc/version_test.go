package rpc

import (
	"strings"
	"testing"
)

func TestCheckWire(t *testing.T) {
	if err := CheckWire(WireVersion); err != nil {
		t.Error(err)
	}
	for _, other := range []uint32{0, WireVersion + 1} {
		err := CheckWire(other)
		if err == nil || !strings.Contains(err.Error(), "this program speaks version 1") {
			t.Errorf("version %d: %v", other, err)
		}
	}
}
