package command

import "testing"

// TestRandomPicksWalkSeldom makes many picks of a large collection: they cost a walk for as many of them
// as it has elements.
func TestRandomPicksWalkSeldom(t *testing.T) {
	const n, count = 5000, 200_000
	walks, answered := 0, 0
	walk := func(visit func(name, value []byte) bool) {
		walks++
		for range n {
			if !visit([]byte("name"), []byte("value")) {
				return
			}
		}
	}
	c := &Ctx{Out: NewReply(0), Env: &Env{}}
	replyRandom(c, new(work), randomOptions{count: -count, counted: true, with: true}, n, walk, func([]byte) { answered++ })
	if answered != count || walks > count/n+1 {
		t.Errorf("%d answers, %d walks", answered, walks)
	}
}

// TestMgetStopsAtTheLimit reads without a transaction, which it could not.
func TestMgetStopsAtTheLimit(t *testing.T) {
	c := &Ctx{Out: NewReply(1), Args: [][]byte{[]byte("MGET"), []byte("k")}}
	c.Out.Bulk([]byte("too long"))
	mgetCommand(c, new(work))
	if !c.Out.Overflowed() || c.Out.Len() > 0 {
		t.Errorf("answered %q", c.Out.Bytes())
	}
}

// A large reply asks the account for little more than it needs, and takes no more than it has asked for.
func TestLargeRepliesAskForLittleMore(t *testing.T) {
	const size = 33 << 20
	r, value := NewReply(0), make([]byte, 1<<20)
	asked := 0
	r.OnGrow(func() bool {
		asked = r.Held()
		return true
	})
	for r.Len() < size {
		r.Bulk(value)
		if got := cap(r.Bytes()); got > max(asked, replyRoom)+64<<10 {
			t.Fatalf("with %d bytes written, it has %d, and has asked for %d", r.Len(), got, asked)
		}
	}
	if asked > r.Len()+r.Len()/4 {
		t.Errorf("it asked for %d bytes to hold %d", asked, r.Len())
	}
}
