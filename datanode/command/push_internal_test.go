package command

import (
	"bytes"
	"sync/atomic"
	"testing"
	"time"
)

// queue returns pushes of a namespace that may be taken from, where client-memory is bound.
func queue(of *pushAccount, bound int64, clock func() time.Time) *Pushes {
	b := new(atomic.Int64)
	b.Store(bound)
	p := newPushes(of, b, clock)
	p.Release()
	return p
}

func (p *Pushes) addBytes(b []byte, most int) bool {
	m := newMessage(p.of.Load(), b)
	defer m.release()
	return p.add(m, most)
}

// TestPushesOfAllAreBounded: those of many sessions that take nothing don't grow as those of one may, neither another
// namespace's nor those that take what they are sent are cut for them, and whatever ends them, nothing stays counted.
func TestPushesOfAllAreBounded(t *testing.T) {
	whole := new(pushAccount)
	hog, other := &pushAccount{whole: whole}, &pushAccount{whole: whole}
	const bound, sessions = 64 << 20, 64
	text := bytes.Repeat([]byte("x"), 100<<10)
	stuck, good := make([]*Pushes, sessions), queue(other, bound, time.Now)
	cut := 0
	for i := range stuck {
		stuck[i] = queue(hog, bound, time.Now)
		for range 10 {
			stuck[i].addBytes(text, pushBytesHard)
		}
		if stuck[i].overflow {
			cut++
		}
	}
	if held := whole.bytes.Load(); held > 2*bound/pushShare || cut < sessions/2 || cut == sessions {
		t.Errorf("%d of %d sessions were cut, and %d bytes wait", cut, sessions, held)
	}
	for range 20 {
		if !good.addBytes(text, pushBytesHard) {
			t.Fatal("one of another namespace was cut")
		}
		if got := good.Take(); !bytes.Equal(got, text) {
			t.Fatalf("took %d bytes", len(got))
		}
	}
	if stuck[sessions-1].addBytes(nil, pushBytesHard) {
		t.Error("one that was cut goes on")
	}
	for i, p := range append(stuck, good) {
		if i%2 == 0 {
			p.Take()
		}
		if i%3 == 0 {
			p.drop()
		}
		if i%5 == 0 {
			p.hold(NewReply(0))
		}
		if overflow := p.Close(); overflow != p.overflow || p.Wait() || p.Take() != nil || p.Held() != 0 {
			t.Errorf("session %d: overflow is %v, and %d bytes wait", i, overflow, p.Held())
		}
	}
	for _, a := range []*pushAccount{whole, hog, other} {
		if a.bytes.Load() != 0 || a.queues.Load() != 0 || a.parts.Load() != 0 {
			t.Errorf("%d bytes, %d sessions and %d namespaces stay counted", a.bytes.Load(), a.queues.Load(), a.parts.Load())
		}
	}
}

// TestPushesOfOneAreBounded: by 32 MiB at once, and by 8 MiB for a minute.
func TestPushesOfOneAreBounded(t *testing.T) {
	now := time.Now()
	clock := func() time.Time { return now }
	account := &pushAccount{whole: new(pushAccount)}
	text := make([]byte, 1<<20)
	p := queue(account, 1<<40, clock)
	n := 0
	for p.addBytes(text, pushBytesHard) {
		n++
	}
	if n != 31 { // and what messages take beside their bytes
		t.Errorf("%d MiB may wait", n)
	}
	for _, slow := range []bool{true, false} {
		p = queue(account, 1<<40, clock)
		for range 9 {
			p.addBytes(text, pushBytesHard)
		}
		if now = now.Add(pushSoftFor); p.late(now) {
			t.Error("cut after a minute")
		}
		if !slow {
			p.Take()
			p.Take()
			p.addBytes(text, pushBytesHard)
			p.addBytes(text, pushBytesHard)
		}
		if now = now.Add(time.Second); p.late(now) != slow || p.addBytes(text, pushBytesHard) == slow {
			t.Errorf("slow is %v: cut after more than a minute is %v", slow, p.overflow)
		}
	}
}

// TestPushesKeepTheirOrder: however they are taken, what was added first comes first, and small ones come together.
func TestPushesKeepTheirOrder(t *testing.T) {
	p := queue(&pushAccount{whole: new(pushAccount)}, 1<<30, time.Now)
	var want, got []byte
	out, pieces := NewReply(0), 0
	for i := range 5000 {
		text := bytes.Repeat([]byte{byte(i), byte(i >> 8)}, 1+i%50)
		if i%100 == 0 {
			text = bytes.Repeat(text, 10_000)
		}
		want = append(want, text...)
		p.addBytes(text, pushBytesHard)
		switch {
		case i%37 == 0:
			got = append(got, p.Take()...)
			pieces++
		case i%501 == 0:
			p.hold(out)
			if p.Take() != nil {
				t.Fatal("taken while it is held")
			}
			got = append(got, out.Bytes()...)
			out.Reset(0)
			p.Release()
		}
	}
	for b := p.Take(); b != nil; b = p.Take() {
		got = append(got, b...)
		pieces++
	}
	if !bytes.Equal(got, want) {
		t.Errorf("took %d bytes that aren't the %d that were added", len(got), len(want))
	}
	if pieces > 1000 {
		t.Errorf("5,000 messages were %d pieces", pieces)
	}
}
