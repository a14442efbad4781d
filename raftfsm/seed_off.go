//go:build !seed

package raftfsm

const planted = noSeed
