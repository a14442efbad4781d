package tenant

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

const (
	// failuresFree is how many failed authentications of one source, or for one name, cost nothing at once;
	// one more is forgiven every failureEvery.
	failuresFree = 20
	failureEvery = 500 * time.Millisecond
	// failureWaitMax is the longest that the reply to a failed authentication waits.
	failureWaitMax = 5 * time.Second
	// failuresWaiting bounds the connections that wait at once, failuresShare those of one source.
	failuresWaiting = 1000
	failuresShare   = 16
	// guardSlots is how many sources, and how many names, are told apart. Those of one slot share their
	// delays, so a full table takes no more memory and forgets nobody.
	guardSlots = 16384
)

// Guard slows guessing down: it says how long the reply to a failed authentication has to wait. It is asked
// after the token was looked at, and only if that is wrong: whatever others do, a right one is neither
// refused nor delayed, so nobody can lock a tenant out. Every method may be called at any time.
type Guard struct {
	seed maphash.Seed // outsiders can't choose whose slot they share

	mu             sync.Mutex
	sources, names [guardSlots]int64 // Unix nanoseconds at which every failure so far is forgiven
	waiting        int
	share          [guardSlots]uint8 // of the waiting, each source's
}

// NewGuard returns a guard that has seen no failure.
func NewGuard() *Guard { return &Guard{seed: maphash.MakeSeed()} }

// Failed counts a failed authentication from a peer's address, for a name, and says what becomes of the
// reply: if wait isn't 0 it waits, and the caller calls Waited afterwards. With cut the connection then ends;
// where too many wait already, that is at once, and without a reply.
func (g *Guard) Failed(remote, name string, now time.Time) (wait time.Duration, cut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	source := g.slot(Source(remote))
	wait, cut = owed(&g.sources[source], now)
	if name != "" && name != "default" { // whether there is such a namespace makes no difference
		// Others' failures slow this one down, but don't end its connection.
		byName, _ := owed(&g.names[g.slot(name)], now)
		wait = max(wait, byName)
	}
	if wait == 0 {
		return 0, false
	}
	if g.waiting >= failuresWaiting || g.share[source] >= failuresShare {
		return 0, true
	}
	g.waiting++
	g.share[source]++
	return wait, cut
}

// Waited says that a wait which Failed ordered for a failure from remote is over.
func (g *Guard) Waited(remote string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting--
	g.share[g.slot(Source(remote))]--
}

func (g *Guard) slot(s string) uint64 { return maphash.String(g.seed, s) % guardSlots }

// owed counts a failure in a slot, and returns how long it has to wait for those before it; over says that it
// would be longer than the longest wait, which it is then; that failure is not counted.
func owed(forgiven *int64, now time.Time) (wait time.Duration, over bool) {
	next := max(*forgiven, now.UnixNano()) + int64(failureEvery)
	wait = time.Duration(next-now.UnixNano()) - failuresFree*failureEvery
	if wait > failureWaitMax {
		return failureWaitMax, true
	}
	*forgiven = next
	return max(wait, 0), false
}

// Source is whose failures those from an address are: of an IPv6 address its first 64 bits, since one host has
// all that follow; a socket's path as it is.
func Source(remote string) string {
	addr, err := netip.ParseAddrPort(remote)
	if err != nil {
		return remote
	}
	ip := addr.Addr().Unmap().WithZone("")
	if ip.Is4() {
		return ip.String()
	}
	return netip.PrefixFrom(ip, 64).Masked().String()
}
