//go:build seed_noviewwait

package replication

const (
	seedNoViewWait    = true
	seedViewAfterSwap = false
)
