package command

import (
	"bytes"
	"sync/atomic"
	"testing"
)

// TestPushesOfAllAreBounded: those of many sessions that take nothing don't grow as those of one may, those that take
// what they are sent go on, and whatever ends them, nothing stays counted.
func TestPushesOfAllAreBounded(t *testing.T) {
	var total atomic.Int64
	message := bytes.Repeat([]byte("x"), pushBytesFree/2)
	stuck := make([]*Pushes, 2*pushTotalMax/pushBytesMax)
	cut := 0
	for i := range stuck {
		stuck[i] = newPushes(&total)
		for range pushBytesMax / len(message) {
			stuck[i].add(message)
		}
		if stuck[i].overflow {
			cut++
		}
	}
	if held := total.Load(); held > pushTotalMax || cut != len(stuck)/2 {
		t.Errorf("%d of %d sessions were cut, and %d bytes wait", cut, len(stuck), held)
	}
	good := newPushes(&total)
	for range 20 {
		if !good.add(message) {
			t.Fatal("one that takes everything was cut")
		}
		if got, ok := good.Take(nil); !ok || !bytes.Equal(got, message) {
			t.Fatalf("took %d bytes", len(got))
		}
	}
	if stuck[len(stuck)-1].add(nil) {
		t.Error("one that was cut goes on")
	}
	for i, p := range append(stuck, good) {
		if i%2 == 0 && i < len(stuck)/2 {
			p.Take(nil)
		}
		if i%3 == 0 {
			p.drop()
		}
		if overflow := p.Close(); overflow != (i >= len(stuck)/2 && i < len(stuck)) {
			t.Errorf("session %d: overflow is %v", i, overflow)
		}
		p.Take(nil)
	}
	if held := total.Load(); held != 0 {
		t.Errorf("%d bytes stay counted", held)
	}
}
