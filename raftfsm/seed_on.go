//go:build seed

package raftfsm

// linked is set by the linker: the state machine has no environment.
var linked string

var planted = seed(linked)
