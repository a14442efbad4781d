package resp

import (
	"slices"
	"testing"
)

// TestRation: a turn serves connections of each namespace up to what it may cost, those that have waited first, and
// forgets none.
func TestRation(t *testing.T) {
	l := &loop{tenants: make(map[uint64]*loopTenant)}
	conns := func(namespace uint64, n, cost int) []*conn {
		tenant := &loopTenant{namespace: namespace, conns: n}
		l.tenants[namespace] = tenant
		list := make([]*conn, n)
		for i := range list {
			list[i] = &conn{tenant: tenant, cost: cost}
		}
		return list
	}
	loud := conns(1, 100, turnCost/10)
	if got := l.ration(slices.Clone(loud)); !slices.Equal(got, loud) || len(l.again) > 0 {
		t.Errorf("%d connections of the only namespace are served, %d wait", len(got), len(l.again))
	}
	quiet := conns(2, 2, connCost)
	most := 11 // that begin before the cost is reached
	claimed := slices.Concat(loud, quiet)
	for turn := 0; len(claimed) > 0; turn++ {
		got := l.ration(claimed)
		want := loud[turn*most : min((turn+1)*most, len(loud))]
		if turn == 0 {
			want = append(slices.Clone(want), quiet...)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("turn %d serves %d connections, want %d", turn, len(got), len(want))
		}
		claimed, l.again = l.again, nil
	}
}
