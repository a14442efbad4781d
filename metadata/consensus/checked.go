package consensus

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"hash/fnv"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
)

// bbolt has no checksums of what it holds: a bit that flips on disk would be another term, another vote or another
// command. So each entry of Raft's log carries a CRC-32C of its fields in front of its extensions, and each value of
// the stable store one of its key and value behind it. Where one doesn't match, reading is an error.

// checkedLog is a log whose entries carry checksums in the store below.
type checkedLog struct{ raft.LogStore }

func logSum(l *raft.Log, extensions []byte) uint32 {
	b := binary.LittleEndian.AppendUint64(nil, l.Index)
	b = binary.LittleEndian.AppendUint64(b, l.Term)
	b = append(b, byte(l.Type))
	sum := crc32.Checksum(b, castagnoli)
	return crc32.Update(crc32.Update(sum, castagnoli, l.Data), castagnoli, extensions)
}

// StoreLog implements raft.LogStore.
func (c checkedLog) StoreLog(l *raft.Log) error { return c.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore. The entries are others' too, so copies are stored.
func (c checkedLog) StoreLogs(logs []*raft.Log) error {
	sealed := make([]*raft.Log, len(logs))
	for i, l := range logs {
		s := *l
		s.Extensions = append(binary.LittleEndian.AppendUint32(nil, logSum(l, l.Extensions)), l.Extensions...)
		sealed[i] = &s
	}
	return c.LogStore.StoreLogs(sealed)
}

// GetLog implements raft.LogStore.
func (c checkedLog) GetLog(index uint64, l *raft.Log) error {
	if err := c.LogStore.GetLog(index, l); err != nil {
		return err
	}
	if l.Index != index || len(l.Extensions) < 4 {
		return fmt.Errorf("%w: entry %d of the raft log can't be read", ErrDamage, index)
	}
	sum, rest := binary.LittleEndian.Uint32(l.Extensions), l.Extensions[4:]
	if sum != logSum(l, rest) {
		return fmt.Errorf("%w: entry %d of the raft log: its checksum doesn't match", ErrDamage, index)
	}
	if l.Extensions = rest; len(rest) == 0 {
		l.Extensions = nil
	}
	return nil
}

// checkedStable is a stable store whose values carry checksums.
type checkedStable struct{ *raftboltdb.BoltStore }

func stableSum(key, value []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
}

// Set implements raft.StableStore.
func (c checkedStable) Set(key, value []byte) error {
	return c.BoltStore.Set(key, binary.LittleEndian.AppendUint32(slices.Clone(value), stableSum(key, value)))
}

// Get implements raft.StableStore.
func (c checkedStable) Get(key []byte) ([]byte, error) {
	b, err := c.BoltStore.Get(key)
	if err != nil {
		return nil, err
	}
	if len(b) < 4 || binary.LittleEndian.Uint32(b[len(b)-4:]) != stableSum(key, b[:len(b)-4]) {
		return nil, fmt.Errorf("%w: %s in the raft store: its checksum doesn't match", ErrDamage, key)
	}
	return b[:len(b)-4], nil
}

// SetUint64 implements raft.StableStore.
func (c checkedStable) SetUint64(key []byte, v uint64) error {
	return c.Set(key, binary.BigEndian.AppendUint64(nil, v))
}

// GetUint64 implements raft.StableStore.
func (c checkedStable) GetUint64(key []byte) (uint64, error) {
	b, err := c.Get(key)
	if err != nil {
		return 0, err
	}
	if len(b) != 8 {
		return 0, fmt.Errorf("%w: %s in the raft store has %d bytes, not 8", ErrDamage, key, len(b))
	}
	return binary.BigEndian.Uint64(b), nil
}

// A bbolt file begins with two meta pages, written in turn: header (16) | magic (4) | version (4) | page size (4) |
// flags (4) | root (16) | freelist (8) | pages (8) | transaction (8) | FNV-1a of that from magic on (8).
const (
	metaMagic = 0xED0CDAED
	metaBytes = 80
)

type boltMeta struct {
	whole                bool
	pageSize, pages, txn int64
}

func readMeta(f *os.File, at int64) (m boltMeta, err error) {
	var b [metaBytes]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		return m, err
	}
	le, sum := binary.LittleEndian, fnv.New64a()
	_, _ = sum.Write(b[16:72]) // a hash never fails
	m.pageSize, m.pages, m.txn = int64(le.Uint32(b[24:])), int64(le.Uint64(b[56:])), int64(le.Uint64(b[64:]))
	m.whole = le.Uint32(b[16:]) == metaMagic && sum.Sum64() == le.Uint64(b[72:])
	return m, nil
}

// checkMeta refuses a file whose newest meta page is broken, and one that is shorter than that page says. bbolt would
// go back to the transaction before, which Raft has forgotten that it can lose; and it maps the file into memory, so
// that the process would die of a signal where pages are missing. stale says that the older meta page is broken,
// which the next transaction mends.
func checkMeta(path string) (stale bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return false, fmt.Errorf("open raft log: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return false, fmt.Errorf("open raft log: %w", err)
	}
	var metas [2]boltMeta
	for i := range metas {
		at := int64(i) * int64(os.Getpagesize())
		if i == 1 && metas[0].whole {
			at = metas[0].pageSize
		}
		if metas[i], err = readMeta(f, at); errors.Is(err, io.EOF) {
			return false, fmt.Errorf("%w: %s is cut short: %d bytes", ErrDamage, path, info.Size())
		} else if err != nil {
			return false, fmt.Errorf("open raft log: %w", err)
		}
	}
	newest, other := metas[0], metas[1]
	if !newest.whole || other.whole && other.txn > newest.txn {
		newest, other = other, newest
	}
	switch {
	case !newest.whole:
		return false, fmt.Errorf("%w: both meta pages of %s are broken", ErrDamage, path)
	case !other.whole && other.txn != newest.txn-1:
		return false, fmt.Errorf("%w: a meta page of %s is broken, and may be the newest", ErrDamage, path)
	case info.Size() < newest.pageSize*newest.pages:
		return false, fmt.Errorf("%w: %s is cut short: %d bytes of %d", ErrDamage, path, info.Size(), newest.pageSize*newest.pages)
	}
	return !other.whole, nil
}

// readBolt reads everything that a store holds, and hands each entry of the log to take, with what is wrong with it, up to
// brokenMax wrong ones.
// It opens the store read-only. An error is one of the rest of the store.
func readBolt(path string, take func(*raft.Log, error)) error {
	if _, err := checkMeta(path); err != nil {
		return err
	}
	options := &bbolt.Options{ReadOnly: true, Timeout: time.Second}
	return guard(func() (err error) {
		if begun, err := hasBuckets(path, options); err != nil || !begun {
			return err
		}
		store, err := raftboltdb.New(raftboltdb.Options{Path: path, BoltOptions: options})
		if err != nil {
			return fmt.Errorf("open raft log: %w", err)
		}
		defer func() { err = errors.Join(err, store.Close()) }()
		for _, key := range [...]string{"CurrentTerm", "LastVoteTerm", "LastVoteCand"} { // raft's
			if _, err := (checkedStable{store}).Get([]byte(key)); err != nil && !errors.Is(err, raftboltdb.ErrKeyNotFound) {
				return err
			}
		}
		first, err := store.FirstIndex()
		if err != nil {
			return fmt.Errorf("read raft log: %w", err)
		}
		last, err := store.LastIndex()
		if err != nil {
			return fmt.Errorf("read raft log: %w", err)
		}
		if last >= first && last-first > logEntriesMax {
			return fmt.Errorf("%w: the raft log goes from entry %d to %d", ErrDamage, first, last)
		}
		for index, bad := max(first, 1), 0; index <= last && bad < brokenMax; index++ {
			l := new(raft.Log)
			err := (checkedLog{store}).GetLog(index, l)
			if err != nil {
				bad++
				l, err = nil, fmt.Errorf("entry %d of the raft log: %w", index, err)
			}
			take(l, err)
		}
		return nil
	})
}

// hasBuckets says whether the store was begun: a process may have been killed before.
func hasBuckets(path string, options *bbolt.Options) (begun bool, err error) {
	db, err := bbolt.Open(path, 0o600, options)
	if err != nil {
		return false, fmt.Errorf("open raft log: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	err = db.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func([]byte, *bbolt.Bucket) error {
			begun = true
			return nil
		})
	})
	return begun, err
}

// brokenMax is how many broken entries are enough to be told.
const brokenMax = 20

// logEntriesMax is far more than Raft keeps between two snapshots.
const logEntriesMax = 1 << 26

// guard turns what bbolt does on pages that are not what they have to be, panics and reads outside of its memory,
// into an error.
func guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: pages of the raft store are broken: %v", ErrDamage, r)
		}
	}()
	return f()
}
