package store

import (
	"unsafe"

	"github.com/atolldb/atoll/datanode/replog"
)

// Held returns what a transaction that has ended keeps for its next run, in bytes.
func (tx *Tx) Held() int {
	return tx.keys.held() + tx.others.held() + cap(tx.records) + cap(tx.key) + cap(tx.order)*int(unsafe.Sizeof((*pending)(nil))) +
		cap(tx.deltas)*int(unsafe.Sizeof(replog.Delta{})) + cap(tx.ranges)*int(unsafe.Sizeof(span{}))
}

func (s *rowSet) held() int {
	return cap(s.arena) + cap(s.rows)*int(unsafe.Sizeof(pending{})) + cap(s.table)*int(unsafe.Sizeof(int32(0)))
}
