//go:build !seed_noviewwait && !seed_viewafterswap

package replication

// Seeded bugs, off here. The case of the full sync in integration/ must fail with either of them: a
// zero that no seeded bug has moved has shown nothing.
const (
	seedNoViewWait    = false // a snapshot's view is ignored, and nothing waits for a view
	seedViewAfterSwap = false // a snapshot's view is installed after the swap
)
