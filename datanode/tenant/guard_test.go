package tenant

import (
	"fmt"
	"testing"
	"time"
)

func TestGuardDelaysASourceAfterItsFreeFailures(t *testing.T) {
	g, now := NewGuard(), time.Unix(1_000_000, 0)
	fail := func(remote, name string) (time.Duration, bool) {
		t.Helper()
		return g.Failed(remote, name, now)
	}
	for i := range failuresFree {
		if wait, cut := fail(fmt.Sprintf("192.0.2.1:%d", 1000+i), ""); wait != 0 || cut {
			t.Fatalf("failure %d: %v, %v", i, wait, cut)
		}
	}
	most := int(failureWaitMax / failureEvery)
	for i := range most {
		if wait, cut := fail("192.0.2.1:9", ""); wait != time.Duration(i+1)*failureEvery || cut {
			t.Fatalf("failure %d beyond: %v, %v", i, wait, cut)
		}
	}
	for i := range failuresShare - most { // places are left to wait in, and those that will be cut add nothing
		if wait, cut := fail("192.0.2.1:9", ""); wait != failureWaitMax || !cut {
			t.Fatalf("failure %d beyond the longest wait: %v, %v", i, wait, cut)
		}
	}
	for range 100 {
		if wait, cut := fail("192.0.2.1:9", ""); wait != 0 || !cut {
			t.Fatalf("beyond the source's places: %v, %v", wait, cut)
		}
	}
	if wait, cut := fail("192.0.2.2:9", ""); wait != 0 || cut {
		t.Errorf("another source: %v, %v", wait, cut)
	}
	now = now.Add(failureEvery)
	g.Waited("192.0.2.1:8")
	if wait, cut := fail("192.0.2.1:9", ""); wait != failureWaitMax || cut {
		t.Errorf("one was forgiven: %v, %v", wait, cut)
	}
	now = now.Add(time.Hour)
	if wait, cut := fail("192.0.2.1:9", ""); wait != 0 || cut {
		t.Errorf("all were forgiven: %v, %v", wait, cut)
	}
}

func TestGuardDelaysAName(t *testing.T) {
	g, now := NewGuard(), time.Unix(1_000_000, 0)
	source := 0
	fail := func(name string) (time.Duration, bool) {
		source++
		return g.Failed(fmt.Sprintf("[2001:db8:%x::1]:1", source), name, now)
	}
	for range failuresFree {
		fail("acme")
	}
	for range 100 {
		wait, cut := fail("acme")
		if wait == 0 || wait > failureWaitMax || cut {
			t.Fatalf("a guess at acme's: %v, %v", wait, cut)
		}
		g.Waited(fmt.Sprintf("[2001:db8:%x::1]:1", source))
	}
	for _, name := range []string{"", "default"} { // stand for every namespace
		for range 2 * failuresFree {
			if wait, cut := fail(name); wait != 0 || cut {
				t.Fatalf("name %q: %v, %v", name, wait, cut)
			}
		}
	}
}

func TestGuardBoundsTheWaiting(t *testing.T) {
	g, now := NewGuard(), time.Unix(1_000_000, 0)
	waiting := 0
	for i := 0; waiting < failuresWaiting; i++ {
		wait, cut := g.Failed(fmt.Sprintf("[2001:db8:0:%x::1]:1", i), "acme", now)
		if cut {
			t.Fatalf("cut with %d waiting", waiting)
		}
		if wait > 0 {
			waiting++
		}
	}
	if wait, cut := g.Failed("192.0.2.1:1", "acme", now); wait != 0 || !cut {
		t.Errorf("one more than may wait: %v, %v", wait, cut)
	}
	g.Waited("[2001:db8:0:64::1]:1")
	if wait, cut := g.Failed("192.0.2.1:1", "acme", now); wait == 0 || cut {
		t.Errorf("one less is waiting: %v, %v", wait, cut)
	}
}

func TestSource(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.1:5": "192.0.2.1", "[::ffff:192.0.2.1]:5": "192.0.2.1", "[2001:db8:1:2:3:4:5:6]:7": "2001:db8:1:2::/64",
		"[fe80::1%eth0]:7": "fe80::/64", "/run/atoll.sock:0": "/run/atoll.sock:0", "": "",
	} {
		if got := Source(remote); got != want {
			t.Errorf("%q is %q, want %q", remote, got, want)
		}
	}
}
