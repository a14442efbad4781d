// Package replication keeps the nodes of a group equal: it holds a node's generation, makes the node
// a primary or a replica as the view says, streams the log and snapshots as a source, and takes them
// as a sink.
//
// Start reading at member.go, which decides what the node is. source.go and checkpoint.go are the
// primary's side, sink.go and fetch.go a replica's; decide.go holds the one rule for "continue, cut or
// snapshot". DESIGN.md says why.
package replication
