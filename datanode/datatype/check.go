package datatype

import (
	"fmt"

	"github.com/atolldb/atoll/datanode/store"
)

// CheckRow decodes the data of a row that isn't spread, and what a stream knows of itself.
func CheckRow(r store.Row) error {
	switch r.Type {
	case store.TypeString:
		return nil
	case store.TypeHash:
		w := walkPairs(r.Data)
		for w.next() {
		}
		return w.err
	case store.TypeSet, store.TypeList:
		w := walkItems(r.Data)
		for w.next() {
		}
		return w.err
	case store.TypeZSet:
		w := walkScores(r.Data)
		for w.next() {
		}
		return w.err
	case store.TypeStream:
		if !r.Spread {
			return errCorrupt
		}
		_, err := readStreamInfo(r.Data)
		return err
	}
	return fmt.Errorf("%w: type %d", errCorrupt, r.Type)
}
