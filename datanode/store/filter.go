package store

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"
)

// keyFilter knows, within a bound of memory, of key rows and members that they are not there: what most writes of
// new ones and many reads would otherwise ask every memtable and sstable for. It may take an absent row for a present
// one, never the other way round: each applied row is added, deletions take nothing away. Where members would take
// it over its bound, it knows the key rows alone.
//
// It is built behind, by a scan, at open and when more rows have come than it has room for. A row that is
// applied while the scan runs is added to the new filter too, and the scan begins after that: so a row is
// seen by the one or by the other.
type keyFilter struct {
	whole  atomic.Pointer[filterBits] // holds every row; nil while none does
	next   atomic.Pointer[filterBits] // is being built
	build  sync.Mutex                 // one at a time: next is one
	limit  int64                      // bytes
	saw    int64                      // members at the last scan; only the builder uses it
	crowds chan struct{}              // whole has no more room
}

// filterBits is a split block Bloom filter: each row sets one bit in each of the eight words of one block, so
// a question costs one line of the processor's cache. (Putze, Sanders, Singler: "Cache-, Hash- and
// Space-Efficient Bloom Filters"; Apache Parquet's BloomFilter.md.)
type filterBits struct {
	words   []atomic.Uint32
	members bool  // holds them too
	room    int64 // rows
	rows    atomic.Int64
}

const (
	blockWords = 8
	blockRows  = 21 // about 12 bits a row: one absent row in two hundred is taken for a present one

	filterRowsMin = 1 << 20
	filterTries   = 3 // scans for one filter: how many members there are is known after the first
	// filterScanMax is the size of rows, in bytes, up to which a filter is built: a scan may read them all.
	filterScanMax = 2 << 30
)

// filterSalts are the odd constants of Parquet's filter.
var filterSalts = [blockWords]uint32{0x47b6137b, 0x44974d91, 0x8824ad5b, 0xa2b7289d, 0x705495c7, 0x2df1424b, 0x9efc4947, 0x5c6bfb31}

func newFilterBits(rows int64, members bool) *filterBits {
	blocks := (rows + blockRows - 1) / blockRows
	return &filterBits{words: make([]atomic.Uint32, blocks*blockWords), room: blocks * blockRows, members: members}
}

func filterBytes(rows int64) int64 { return rows / blockRows * blockWords * 4 }

// block returns the words of a row's block; hash is the xxhash of its key.
func (b *filterBits) block(hash uint64) []atomic.Uint32 {
	blocks := uint64(len(b.words) / blockWords)
	at := (hash >> 32) * blocks >> 32 * blockWords
	return b.words[at : at+blockWords : at+blockWords]
}

func (b *filterBits) add(hash uint64) {
	words, fresh := b.block(hash), false
	for i := range words {
		bit := uint32(1) << (uint32(hash) * filterSalts[i] >> 27)
		if words[i].Load()&bit == 0 {
			words[i].Or(bit)
			fresh = true
		}
	}
	if fresh {
		b.rows.Add(1)
	}
}

func (b *filterBits) has(hash uint64) bool {
	words := b.block(hash)
	for i := range words {
		if words[i].Load()>>(uint32(hash)*filterSalts[i]>>27)&1 == 0 {
			return false
		}
	}
	return true
}

// absent says that a row is certainly not there. Its caller holds the row's stripe.
func (f *keyFilter) absent(hash uint64, member bool) bool {
	b := f.whole.Load()
	return b != nil && (b.members || !member) && !b.has(hash)
}

// add takes a row that was applied. It looks for next first: if that is none any more, whole is the one
// that it has become.
func (f *keyFilter) add(hash uint64, member bool) {
	next, whole := f.next.Load(), f.whole.Load()
	if next != nil && (next.members || !member) {
		next.add(hash)
	}
	if whole == nil || whole == next || (member && !whole.members) {
		return
	}
	if whole.add(hash); whole.rows.Load() > whole.room {
		select {
		case f.crowds <- struct{}{}:
		default:
		}
	}
}

// filterDelay is how long a store that was opened serves before its keys are scanned: a restart, or the end of
// a full sync, has more urgent work for the processor.
const filterDelay = time.Second

// filterAgain is between two looks at whether a filter that was given up is possible now.
const filterAgain = 10 * time.Minute

// filterLoop builds the filter, and a larger one when it gets crowded.
func (s *Store) filterLoop(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-time.After(filterDelay):
	}
	again := time.NewTicker(filterAgain)
	defer again.Stop()
	for {
		if err := s.buildFilter(ctx); err != nil && ctx.Err() == nil {
			s.opts.Logger.Error("build the filter of keys; reads go without it", "err", err)
		}
		select { // rows that came meanwhile are in the new one
		case <-s.filter.crowds:
		default:
		}
		for wait := true; wait; {
			select {
			case <-ctx.Done():
				return
			case <-s.filter.crowds:
				wait = false
			case <-again.C: // there may be fewer rows now, or a disk that can be read again
				wait = s.filter.whole.Load() != nil
			}
		}
	}
}

// buildFilter replaces the filter by one with room for twice the rows that there are: for keys and members, or,
// where that would take more than its limit, for keys alone, or by none.
func (s *Store) buildFilter(ctx context.Context) error {
	f := &s.filter
	f.build.Lock()
	defer f.build.Unlock()
	guess := 2 * f.saw
	for try := 1; ; try++ {
		total := s.Total()
		rows := max(2*total.Keys+guess, filterRowsMin)
		members := filterBytes(rows) <= f.limit
		if !members {
			rows = max(2*total.Keys, filterRowsMin)
		}
		if filterBytes(rows) > f.limit || total.Bytes > filterScanMax {
			f.whole.Store(nil)
			f.next.Store(nil)
			return nil
		}
		b := newFilterBits(rows, members)
		saw, err := s.scanInto(ctx, b)
		if err != nil {
			f.whole.Store(nil)
			return err
		}
		f.saw = saw
		if !members || b.rows.Load() <= b.room/4*3 || try == filterTries {
			f.whole.Store(b)
			f.next.CompareAndSwap(b, nil)
			return nil
		}
		guess = max(2*saw, 2*guess) // there were more members than anybody knew
	}
}

// scanInto fills a filter with every row, while those that are applied go into it too, and returns the number of
// members.
func (s *Store) scanInto(ctx context.Context, b *filterBits) (members int64, err error) {
	s.filter.next.Store(b)
	defer func() {
		if err != nil {
			s.filter.next.Store(nil)
		}
	}()
	it, err := s.db.NewIter(nil)
	if err != nil {
		return 0, fmt.Errorf("scan rows: %w", err)
	}
	defer func() {
		if e := it.Close(); err == nil && e != nil {
			err = fmt.Errorf("scan rows: %w", e)
		}
	}()
	for ok, n := it.First(), 0; ok; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return 0, ctx.Err()
		}
		k, good := parseRowKey(it.Key())
		switch {
		case !good || k.ns == 0:
		case k.kind == kindKey:
			b.add(xxhash.Sum64(it.Key()))
		case k.kind == kindMember && b.members:
			b.add(xxhash.Sum64(it.Key()))
			members++
		default: // what is no member: on to the next keyspace
			ok = it.SeekGE(prefixEnd(keyspacePrefix(k.ns, k.ks)))
			continue
		}
		ok = it.Next()
	}
	return members, nil
}
