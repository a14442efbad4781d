// Package datanode is the data plane of one process: it wires the RESP edge, the executor, the view and
// the group membership, and speaks with the metadata service.
//
// Read the flow of a command from resp to command, datatype, store and replog, and then replication.
// Here, node.go opens and runs the parts, serve.go gives the executor what it serves, metadata.go is the
// client of the metadata service, and forward.go carries a replica's writes to the primary.
package datanode
