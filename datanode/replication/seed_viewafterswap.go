//go:build seed_viewafterswap

package replication

const (
	seedNoViewWait    = false
	seedViewAfterSwap = true
)
