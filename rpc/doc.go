// Package rpc holds what crosses a process boundary inside an Atoll cluster: the protobuf services
// and records (atollpb), the shared listener, and the positions that every stream speaks of. It is a
// leaf: it imports no other package of this module.
package rpc

//go:generate sh generate.sh
