package consensus

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"os"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
)

// bbolt maps its file into memory and follows what the pages say: a broken one sends it anywhere in the process'
// memory, or ends the process. So everything that bbolt would follow is checked before it may open the file.
//
// The file is pages, numbered from 0. Numbers are little-endian. Two meta pages, written in turn: header (16) |
// magic (4) | version (4) | page size (4) | flags (4) | root (8) | sequence (8) | freelist (8) | pages (8) |
// transaction (8) | FNV-1a of that from magic on (8). The others are trees': number (8) | kind (2) | count (2) | pages
// that it goes on for (4), then count elements of 16 bytes, then their data without gaps. An element of a branch:
// where its key is, from the element on (4) | length of the key (4) | page (8); of a leaf: flags (4) | where (4) |
// length of the key (4) | of the value behind it (4). The tree at root holds buckets: values of root (8) |
// sequence (8), and where root is 0 the bucket's only page.
const (
	metaMagic   = 0xED0CDAED
	metaVersion = 2
	metaBytes   = 80

	pageBytes    = 16 // of a header, and of an element
	kindBranch   = 1
	kindLeaf     = 2
	kindFree     = 16
	bucketBytes  = 16
	bucketFlag   = 1
	noFreelist   = math.MaxUint64
	pageSizeMost = 1 << 16
)

type boltMeta struct {
	whole                bool
	pageSize, pages, txn int64
	root, freelist       uint64
}

func readMeta(f *os.File, at int64) (m boltMeta, err error) {
	var b [metaBytes]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		return m, err
	}
	le, sum := binary.LittleEndian, fnv.New64a()
	_, _ = sum.Write(b[16:72]) // a hash never fails
	m.pageSize, m.root, m.freelist = int64(le.Uint32(b[24:])), le.Uint64(b[32:]), le.Uint64(b[48:])
	m.pages, m.txn = int64(le.Uint64(b[56:])), int64(le.Uint64(b[64:]))
	m.whole = le.Uint32(b[16:]) == metaMagic && le.Uint32(b[20:]) == metaVersion && sum.Sum64() == le.Uint64(b[72:])
	return m, nil
}

// newestMeta refuses a file whose newest meta page is broken, and one that is shorter than that page says: bbolt would
// go back to the transaction before, which Raft has forgotten that it can lose. stale says that the older meta page is
// broken, which the next transaction mends.
func newestMeta(f *os.File) (newest boltMeta, stale bool, err error) {
	info, err := f.Stat()
	if err != nil {
		return newest, false, fmt.Errorf("open raft log: %w", err)
	}
	var metas [2]boltMeta
	for i := range metas {
		at := int64(i) * int64(os.Getpagesize())
		if i == 1 && metas[0].whole {
			at = metas[0].pageSize
		}
		if metas[i], err = readMeta(f, at); errors.Is(err, io.EOF) {
			return newest, false, fmt.Errorf("%w: %s is cut short: %d bytes", ErrDamage, f.Name(), info.Size())
		} else if err != nil {
			return newest, false, fmt.Errorf("open raft log: %w", err)
		}
	}
	newest, other := metas[0], metas[1]
	if !newest.whole || other.whole && other.txn > newest.txn {
		newest, other = other, newest
	}
	switch {
	case !newest.whole:
		err = fmt.Errorf("%w: both meta pages of %s are broken", ErrDamage, f.Name())
	case !other.whole && other.txn != newest.txn-1:
		err = fmt.Errorf("%w: a meta page of %s is broken, and may be the newest", ErrDamage, f.Name())
	case newest.pageSize < metaBytes || newest.pageSize > pageSizeMost || newest.pages < 0 || newest.pages > math.MaxInt64/pageSizeMost:
		err = fmt.Errorf("%w: %s says that it has %d pages of %d bytes", ErrDamage, f.Name(), newest.pages, newest.pageSize)
	case info.Size() < newest.pageSize*newest.pages:
		err = fmt.Errorf("%w: %s is cut short: %d bytes of %d", ErrDamage, f.Name(), info.Size(), newest.pageSize*newest.pages)
	}
	return newest, !other.whole, err
}

// checkPages checks every page that bbolt can reach, and that the store's buckets are there: either none, since a
// process may have been killed before it begun them, or Raft's two. stale is newestMeta's.
func checkPages(path string) (begun, stale bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return false, false, fmt.Errorf("open raft log: %w", err)
	}
	defer f.Close()
	meta, stale, err := newestMeta(f)
	if err != nil {
		return false, stale, err
	}
	w := pages{f: f, boltMeta: meta, seen: make([]bool, meta.pages)}
	var buckets []string
	err = w.tree(meta.root, func(flags uint32, name, value []byte) error {
		if flags != bucketFlag || len(value) < bucketBytes {
			return errors.New("the root holds what is no bucket")
		}
		buckets = append(buckets, string(name))
		return w.bucket(string(name), value)
	})
	if err == nil && len(buckets) > 0 && (len(buckets) != 2 || buckets[0] != "conf" || buckets[1] != "logs") {
		err = fmt.Errorf("the buckets are %q", buckets)
	}
	if err == nil && meta.freelist != noFreelist {
		err = w.free(meta.freelist) // a new file's, or another tool's: the store writes none
	}
	var failed *os.PathError
	if err != nil && !errors.As(err, &failed) {
		err = fmt.Errorf("%w: pages of %s are broken: %w", ErrDamage, path, err)
	}
	return len(buckets) > 0, stale, err
}

// pages is a walk over the pages of a bbolt file.
type pages struct {
	f *os.File
	boltMeta
	seen []bool
}

// leaf is told each key of a tree. The slices are good until it returns.
type leaf func(flags uint32, key, value []byte) error

func (w *pages) bucket(name string, value []byte) error {
	plain := func(flags uint32, key, _ []byte) error {
		if flags != 0 || name == "logs" && len(key) != 8 {
			return fmt.Errorf("bucket %q holds a key of %d bytes with flags %#x", name, len(key), flags)
		}
		return nil
	}
	if root := binary.LittleEndian.Uint64(value); root != 0 {
		return w.tree(root, plain)
	}
	_, err := w.elements(value[bucketBytes:], span{}, true, plain)
	return err
}

// span is the keys that a page may hold: from low, and below high if there is one.
type span struct {
	low, high []byte
}

func (w *pages) tree(root uint64, take leaf) error {
	b, err := w.read(root)
	if err != nil {
		return err
	}
	return w.page(root, b, span{}, true, take)
}

func (w *pages) page(id uint64, b []byte, s span, isRoot bool, take leaf) error {
	children, err := w.elements(b, s, isRoot, take)
	if err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	for i, c := range children {
		inner := span{low: c.key, high: s.high}
		if i+1 < len(children) {
			inner.high = children[i+1].key
		}
		b, err := w.read(c.page)
		if err == nil {
			err = w.page(c.page, b, inner, false, take)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// read reads a page and those that it goes on for, once.
func (w *pages) read(id uint64) ([]byte, error) {
	if id < 2 || id >= uint64(w.pages) {
		return nil, fmt.Errorf("page %d of %d is asked for", id, w.pages)
	}
	b := make([]byte, w.pageSize)
	if _, err := w.f.ReadAt(b, int64(id)*w.pageSize); err != nil {
		return nil, &os.PathError{Op: "read", Path: w.f.Name(), Err: err}
	}
	more := int64(binary.LittleEndian.Uint32(b[12:]))
	if own := binary.LittleEndian.Uint64(b); own != id || more >= w.pages-int64(id) {
		return nil, fmt.Errorf("page %d says that it is %d, with %d more", id, own, more)
	}
	for i := id; i <= id+uint64(more); i++ {
		if w.seen[i] {
			return nil, fmt.Errorf("page %d is used twice", i)
		}
		w.seen[i] = true
	}
	if more == 0 {
		return b, nil
	}
	b = make([]byte, w.pageSize*(1+more))
	if _, err := w.f.ReadAt(b, int64(id)*w.pageSize); err != nil {
		return nil, &os.PathError{Op: "read", Path: w.f.Name(), Err: err}
	}
	return b, nil
}

// free checks the list of free pages, which is a page: header (16) | numbers (8 each), of which the first is their
// count where that is more than the header can say.
func (w *pages) free(id uint64) error {
	b, err := w.read(id)
	if err != nil {
		return err
	}
	le := binary.LittleEndian
	kind, count, ids := le.Uint16(b[8:]), uint64(le.Uint16(b[10:])), b[pageBytes:]
	if count == math.MaxUint16 {
		count, ids = le.Uint64(ids), ids[8:]
	}
	if kind != kindFree || count > uint64(len(ids)/8) {
		return fmt.Errorf("page %d is of kind %d, and lists %d free pages", id, kind, count)
	}
	for ; count > 0; count, ids = count-1, ids[8:] {
		free := le.Uint64(ids)
		if free < 2 || free >= uint64(w.pages) || w.seen[free] {
			return fmt.Errorf("page %d of %d is free, and is none, used, or free twice", free, w.pages)
		}
		w.seen[free] = true
	}
	return nil
}

type child struct {
	key  []byte
	page uint64
}

// elements checks a page's own content, and hands a leaf's on.
func (w *pages) elements(b []byte, s span, isRoot bool, take leaf) (children []child, err error) {
	if len(b) < pageBytes {
		return nil, fmt.Errorf("it has %d bytes", len(b))
	}
	le := binary.LittleEndian
	kind, count := le.Uint16(b[8:]), int(le.Uint16(b[10:]))
	if kind != kindBranch && kind != kindLeaf || count == 0 && (kind == kindBranch || !isRoot) {
		return nil, fmt.Errorf("it is of kind %d, with %d elements", kind, count)
	}
	next := uint64(pageBytes * (1 + count)) // where the next one's data has to be
	if next > uint64(len(b)) {
		return nil, fmt.Errorf("%d elements don't fit", count)
	}
	var last []byte
	for i := range count {
		at := pageBytes * (1 + i)
		e := b[at : at+pageBytes]
		flags, where, keyLen, valueLen := le.Uint32(e), le.Uint32(e[4:]), le.Uint32(e[8:]), le.Uint32(e[12:])
		if kind == kindBranch {
			where, keyLen, valueLen = le.Uint32(e), le.Uint32(e[4:]), 0
		}
		end := next + uint64(keyLen) + uint64(valueLen)
		if uint64(at)+uint64(where) != next || keyLen == 0 || end > uint64(len(b)) {
			return nil, fmt.Errorf("element %d has %d + %d bytes at %d", i, keyLen, valueLen, where)
		}
		key, value := b[next:next+uint64(keyLen)], b[next+uint64(keyLen):end]
		next = end
		if last != nil && bytes.Compare(last, key) >= 0 || bytes.Compare(key, s.low) < 0 || s.high != nil && bytes.Compare(key, s.high) >= 0 {
			return nil, fmt.Errorf("key %d is out of order", i)
		}
		last = key
		if kind == kindBranch {
			children = append(children, child{key: key, page: le.Uint64(e[8:])})
		} else if err := take(flags, key, value); err != nil {
			return nil, err
		}
	}
	return children, nil
}

// readBolt reads everything that a store holds, and hands each entry of the log to take, with what is wrong with it, up
// to brokenMax wrong ones. It opens the store read-only. An error is one of the rest of the store. stale says that the
// older meta page is broken.
func readBolt(path string, take func(*raft.Log, error)) (stale bool, err error) {
	begun, stale, err := checkPages(path)
	if err != nil || !begun {
		return stale, err
	}
	store, err := raftboltdb.New(raftboltdb.Options{Path: path, BoltOptions: &bbolt.Options{ReadOnly: true, Timeout: time.Second}})
	if err != nil {
		return stale, fmt.Errorf("open raft log: %w", err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	for _, key := range [...]string{"CurrentTerm", "LastVoteTerm", "LastVoteCand"} { // raft's
		if _, err := (checkedStable{store}).Get([]byte(key)); err != nil && !errors.Is(err, raftboltdb.ErrKeyNotFound) {
			return stale, err
		}
	}
	first, err := store.FirstIndex()
	if err != nil {
		return stale, fmt.Errorf("read raft log: %w", err)
	}
	last, err := store.LastIndex()
	if err != nil {
		return stale, fmt.Errorf("read raft log: %w", err)
	}
	if last >= first && last-first > logEntriesMax {
		return stale, fmt.Errorf("%w: the raft log goes from entry %d to %d", ErrDamage, first, last)
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
	return stale, nil
}

// brokenMax is how many broken entries are enough to be told.
const brokenMax = 20

// logEntriesMax is far more than Raft keeps between two snapshots.
const logEntriesMax = 1 << 26
