//go:build cgo

package main

// pebbleInC says that Pebble has its block cache and memtables from C's allocator.
const pebbleInC = true
