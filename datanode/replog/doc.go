// Package replog is a group's replicated log: numbered entries in checksummed segments.
//
// On the primary it is the source of truth and Pebble is its materialization; on a replica it holds
// what the primary sent. Read entry.go for the format, log.go for appending and syncing, recover.go
// for what is done at open, and reader.go for reading back. DESIGN.md says why.
package replog
