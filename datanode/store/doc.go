// Package store keeps keyspaces in Pebble and writes them through the replicated log.
//
// Start reading at tx.go: a run begins on a namespace, reads and writes rows, and commits. commit.go
// gathers the runs of all connections into one log entry; apply.go puts an entry into Pebble, the row
// cache and the counters, on the primary, on replicas and at recovery alike. keys.go alone knows the
// bytes of keys. DESIGN.md says why.
package store
