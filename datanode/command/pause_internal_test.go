package command

import "testing"

// TestPauseOver has the next run of anyone forget a pause that is over, so that nobody pays for it any longer.
func TestPauseOver(t *testing.T) {
	var p pauses
	p.set(7, pause{untilMS: 100}, 0)
	p.set(8, pause{untilMS: 300}, 0)
	stranger := &Session{}
	stranger.grant.NamespaceID = 9
	for _, c := range []struct {
		nowMS int64
		parts int
	}{{99, 2}, {100, 1}, {299, 1}, {300, 0}} {
		if left, _, _ := p.hold(stranger, c.nowMS); left != 0 {
			t.Errorf("at %d ms a stranger waits %s", c.nowMS, left)
		}
		if len(p.parts) != c.parts || p.any.Load() != (c.parts > 0) {
			t.Errorf("at %d ms %d pauses are kept, any is %t; want %d", c.nowMS, len(p.parts), p.any.Load(), c.parts)
		}
	}
	p.set(7, pause{untilMS: 500}, 400)
	paused := &Session{}
	paused.grant.NamespaceID = 7
	if left, _, _ := p.hold(paused, 400); left.Milliseconds() != 100 || !p.any.Load() {
		t.Errorf("a new pause holds for %s", left)
	}
}
