package datatype

import (
	"bytes"

	"github.com/atolldb/atoll/datanode/store"
)

// randomSeeksMax bounds the work of RandomKey.
const randomSeeksMax = 1024

// RandomKey returns some key of the database, by a walk down the tree of the keys' bytes: at each branch one
// of the next bytes that keys have, each equally likely. So a key with few neighbours is more likely than one
// of many, as it is in a hash table's sparse buckets; every key can come up as long as keys differ within
// their first few hundred bytes. random returns a number below its argument.
func (s Space) RandomKey(random func(int64) int64) ([]byte, bool) {
	prefix := []byte{}
	for seeks := 0; ; {
		var branches [][]byte
		for from := prefix; from != nil && seeks < randomSeeksMax; seeks++ {
			key, alone := s.firstKey(from, prefix)
			if key == nil {
				break
			}
			if alone && len(branches) == 0 {
				return key, true
			}
			branches = append(branches, key)
			from = nextBranch(key, len(prefix))
		}
		if len(branches) == 0 {
			return nil, false
		}
		key := branches[random(int64(len(branches)))]
		if len(key) == len(prefix) || seeks >= randomSeeksMax {
			return key, true
		}
		prefix = key[:len(prefix)+1]
	}
}

// firstKey returns a copy of the first key from on that starts with prefix, and whether it is the last such.
func (s Space) firstKey(from, prefix []byte) (key []byte, alone bool) {
	for k := range s.Tx.Keys(s.DB, store.KeyBounds{From: from, Prefix: prefix}) {
		if key != nil {
			return key, false
		}
		key = bytes.Clone(k)
		if key == nil {
			key = []byte{}
		}
	}
	return key, key != nil
}

// nextBranch is the smallest key whose byte at position n is above that of key; nil if there is none. A key
// that ends there is before all bytes.
func nextBranch(key []byte, n int) []byte {
	switch {
	case len(key) == n:
		return append(bytes.Clone(key), 0)
	case key[n] == 0xff:
		return nil
	}
	next := append([]byte{}, key[:n+1]...)
	next[n]++
	return next
}
