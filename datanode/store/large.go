package store

import "runtime"

// largeRuns is how many runs may hold ownBytes of rows or more at once: enough for every core. Thousands of
// connections may ask for large values at the same time; nobody accounts for what their runs hold, and without
// this bound that grows with the number of connections.
func largeRuns() int { return max(4, 2*runtime.GOMAXPROCS(0)) }

// heavyBytes of commands make a run heavy: it takes a processor for milliseconds.
const heavyBytes = 256 << 10

// heavyRuns is how many heavy runs of one namespace go on at once, but for what waits for an fsync. One processor is for
// everybody else's runs.
func heavyRuns() int { return max(1, runtime.GOMAXPROCS(0)-1) }

// holds is called before n more bytes of rows come into the run's memory. The first that makes it a large run waits
// for a place among largeRuns. It waits with locks held; those that have a place need no more than they have.
func (tx *Tx) holds(n int) {
	if tx.large || tx.Size()+n < ownBytes {
		return
	}
	tx.store.places <- struct{}{}
	tx.large = true
}

// Hold is called before a command makes n bytes that are neither rows nor its arguments, such as a string that it grows
// or a result that it collects: they count for the run's memory as rows do.
func (tx *Tx) Hold(n int) { tx.holds(n) }

// letGo gives the places back.
func (tx *Tx) letGo() {
	if tx.heavy {
		<-tx.ns.heavy
		tx.heavy = false
	}
	if tx.large {
		<-tx.store.places
		tx.large = false
	}
}
