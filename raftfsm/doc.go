// Package raftfsm is the deterministic core of the metadata service: the commands, the state, and what
// a command does to the state. It knows no clock, no randomness, no network and starts no goroutine:
// time, random ids and token hashes are made by the proposer and carried in the command, so that every
// node that applies the same log holds the same state, byte for byte.
package raftfsm
