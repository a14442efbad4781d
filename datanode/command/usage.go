package command

import (
	"slices"
	"time"

	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/datanode/tenant"
	"github.com/atolldb/atoll/rpc/atollpb"
	"google.golang.org/protobuf/proto"
)

const (
	// usesMax bounds the tokens, and the namespaces, of one report.
	usesMax = 1000
	// usageEvery is the least time between two looks at the use, and over which rates are taken.
	usageEvery = 900 * time.Millisecond
	// steadyStep and hurriedStep are how many namespaces one report tells of although nothing of them has changed.
	steadyStep, hurriedStep = 200, 1000
	// eventEvery is how often one limit of one namespace may be beyond its soft bound in the log.
	eventEvery = time.Minute
)

// told is what was last said of a namespace, and logged.
type told struct {
	use               *atollpb.NamespaceUse // nil: nothing
	commands, in, out uint64
	logged            map[string]time.Time // by the limit's name
}

// Usage tells what tokens and namespaces use: what has changed since it was told last, and all of it again and again
// in bounded steps, since whom it was told to may have changed. It belongs to one goroutine.
type Usage struct {
	ex     *Executor
	at     time.Time // of the last look
	cursor uint64    // the id of the namespace that was told last without a change
	hurry  bool      // until every namespace was told again
	sent   []*namespaceStats
}

// NewUsage returns the usage of an executor's node.
func NewUsage(e *Executor) *Usage { return &Usage{ex: e, hurry: true} }

// Collect returns what there is to report at now, at most 1,000 of each; the rest comes next time. It returns nothing
// within a second of the last time.
func (u *Usage) Collect(v *tenant.View, data *store.Store, now time.Time) (tokens []*atollpb.TokenUse, namespaces []*atollpb.NamespaceUse) {
	elapsed := now.Sub(u.at)
	if elapsed < usageEvery || v == nil || data == nil {
		return nil, nil
	}
	u.at = now
	u.ex.stats.marksMu.Lock()
	marks := u.ex.stats.marks
	u.ex.stats.marks = nil
	u.ex.stats.marksMu.Unlock()
	u.sent = u.sent[:0]
	for _, st := range marks {
		st.marked.Store(false) // before it is looked at: what comes later marks it again
		ns := v.Namespace(st.id)
		if (ns == nil || ns.Deleted()) && st.count() == 0 { // its id never comes back
			u.ex.forgetNamespace(st)
			continue
		}
		use := u.look(st, ns, data, elapsed, now)
		again := use.CommandsPerSecond+use.InBytesPerSecond+use.OutBytesPerSecond > 0 // it will be less
		if !sameUse(use, st.told.use) {
			if len(namespaces) < usesMax {
				namespaces, st.told.use = append(namespaces, use), use
				u.sent = append(u.sent, st)
			} else {
				again = true
			}
		}
		all := false
		if tokens, all = st.tokenUses(v, tokens, false); !all || again {
			u.ex.mark(st)
		}
	}
	return u.step(v, data, tokens, namespaces)
}

// step adds the next namespaces in the order of their ids.
func (u *Usage) step(v *tenant.View, data *store.Store, tokens []*atollpb.TokenUse, namespaces []*atollpb.NamespaceUse) ([]*atollpb.TokenUse, []*atollpb.NamespaceUse) {
	left := steadyStep
	if u.hurry {
		left = hurriedStep
	}
	for ns := range v.NamespacesAfter(u.cursor) {
		if left == 0 || len(namespaces) >= usesMax || len(tokens) >= usesMax {
			return tokens, namespaces
		}
		left--
		if got, ok := u.ex.stats.namespaces.Load(ns.ID); ok {
			st := got.(*namespaceStats)
			if tokens, ok = st.tokenUses(v, tokens, true); !ok {
				return tokens, namespaces
			}
			if st.told.use != nil && !slices.ContainsFunc(namespaces, func(n *atollpb.NamespaceUse) bool { return n.NamespaceId == ns.ID }) {
				use := proto.CloneOf(st.told.use) // its rates were told when they changed
				sum := data.Usage(ns.ID)
				use.Keys, use.Bytes = atLeast0(sum.Keys), atLeast0(sum.Bytes)
				namespaces = append(namespaces, use)
				if use.Keys != st.told.use.Keys || use.Bytes != st.told.use.Bytes { // without a command: by expiry, or as a replica
					u.ex.mark(st)
				}
			}
		} else if sum := data.Usage(ns.ID); sum.Keys > 0 {
			if ns.Limits != nil {
				u.ex.mark(u.ex.namespaceStats(ns.ID)) // next time it is held against its soft limits
			}
			namespaces = append(namespaces, &atollpb.NamespaceUse{NamespaceId: ns.ID, Keys: atLeast0(sum.Keys), Bytes: atLeast0(sum.Bytes)})
		}
		u.cursor = ns.ID
	}
	u.cursor, u.hurry = 0, false
	return tokens, namespaces
}

// Again says that what Collect has returned may not be known where it was told: all of it is told again.
func (u *Usage) Again() {
	u.hurry, u.cursor = true, 0
	for _, st := range u.sent {
		st.told.use = nil
		u.ex.mark(st)
	}
	u.sent = u.sent[:0]
}

// look says what a namespace uses, and notes what is beyond a soft bound. A namespace that is gone is nil.
func (u *Usage) look(st *namespaceStats, ns *tenant.Namespace, data *store.Store, elapsed time.Duration, now time.Time) *atollpb.NamespaceUse {
	sum := data.Usage(st.id)
	t := &st.told
	commands, in, out := st.commands.Load(), st.in.Load(), st.out.Load()
	use := &atollpb.NamespaceUse{
		NamespaceId: st.id, Keys: atLeast0(sum.Keys), Bytes: atLeast0(sum.Bytes), Connections: uint32(st.count()), Limited: st.limited.Load(),
		CommandsPerSecond: perSecond(commands-t.commands, elapsed), InBytesPerSecond: perSecond(in-t.in, elapsed),
		OutBytesPerSecond: perSecond(out-t.out, elapsed),
	}
	t.commands, t.in, t.out = commands, in, out
	large := st.largeValue.Swap(false)
	if ns == nil || ns.Limits == nil {
		return use
	}
	l := ns.Limits
	for _, bound := range []struct {
		name string
		now  uint64
		soft uint64
	}{
		{"keys", use.Keys, l.Keys.Soft}, {"bytes", use.Bytes, l.Bytes.Soft}, {"connections", uint64(use.Connections), l.Connections.Soft},
		{"commands_per_second", use.CommandsPerSecond, l.Commands.Soft}, {"in_bytes_per_second", use.InBytesPerSecond, l.InBytes.Soft},
		{"out_bytes_per_second", use.OutBytesPerSecond, l.OutBytes.Soft},
	} {
		if bound.soft != 0 && bound.now > bound.soft {
			use.OverSoft = append(use.OverSoft, bound.name)
			u.event(st, bound.name, now, "now", bound.now, "soft", bound.soft)
		}
	}
	if large {
		use.OverSoft = append(use.OverSoft, "value_bytes")
		u.event(st, "value_bytes", now, "soft", l.ValueBytes.Soft)
	}
	return use
}

// event logs that a namespace is beyond a soft bound, once a minute.
func (u *Usage) event(st *namespaceStats, limit string, now time.Time, figures ...any) {
	if now.Sub(st.told.logged[limit]) < eventEvery {
		return
	}
	if st.told.logged == nil {
		st.told.logged = make(map[string]time.Time)
	}
	st.told.logged[limit] = now
	u.ex.log.Warn("a namespace is beyond a soft limit", append([]any{"namespace_id", st.id, "limit", limit}, figures...)...)
}

// tokenUses appends the uses of a namespace's tokens, all or what has changed since they were told, and reports whether
// there was room for them. Tokens that are gone are forgotten.
func (st *namespaceStats) tokenUses(v *tenant.View, uses []*atollpb.TokenUse, all bool) (_ []*atollpb.TokenUse, complete bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	for s, id := range st.sessions {
		if t := st.tokens[id]; t != nil {
			t.lastMS = max(t.lastMS, s.active.Load())
		}
	}
	for id, t := range st.tokens {
		switch {
		case t.connections == 0 && v.Token(id) == nil:
			delete(st.tokens, id)
			continue
		case !all && t.lastMS == t.toldMS && t.connections == t.toldConnections:
			continue
		case len(uses) >= usesMax:
			return uses, false
		}
		t.toldMS, t.toldConnections = t.lastMS, t.connections
		uses = append(uses, &atollpb.TokenUse{TokenId: id, LastUsedMs: t.lastMS, Connections: t.connections})
	}
	return uses, true
}

func sameUse(a, b *atollpb.NamespaceUse) bool {
	return b != nil && a.Keys == b.Keys && a.Bytes == b.Bytes && a.Connections == b.Connections && a.Limited == b.Limited &&
		a.CommandsPerSecond == b.CommandsPerSecond && a.InBytesPerSecond == b.InBytesPerSecond &&
		a.OutBytesPerSecond == b.OutBytesPerSecond && slices.Equal(a.OverSoft, b.OverSoft)
}

// perSecond rounds up: what has moved at all isn't 0.
func perSecond(n uint64, d time.Duration) uint64 {
	return uint64((time.Duration(n)*time.Second + d - 1) / max(d, 1))
}

func atLeast0(n int64) uint64 { return uint64(max(0, n)) }
