package command

import "testing"

// TestEverythingWithoutAWaiter holds that a key whose last waiter left after it was written does no harm to a command of the
// same transaction that takes the whole namespace.
func TestEverythingWithoutAWaiter(t *testing.T) {
	var b waiting
	sc := &scratch{ready: []dbKey{{0, "left"}, {0, "gone"}}}
	b.everything(sc)
	if len(sc.ready) != 2 || b.first(sc.ready[0]) != 0 {
		t.Errorf("ready are %v", sc.ready)
	}
}
