package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/atolldb/atoll/datanode/replog"
)

// Check is what Verify is to know and to do beside reading files.
type Check struct {
	Namespaces []uint64               // ids that have rows, as far as the caller knows
	Row        func(Row) error        // decodes the data of a row that has any
	Say        func(f replog.Finding) // takes what is wrong
}

// Verified sums up what Verify has read.
type Verified struct {
	Entries    uint64 // of the log
	Tables     uint64 // sstables
	Rows       uint64
	Applied    Applied  // after the replay of the log; zero if the store can't be opened
	Namespaces []uint64 // that have rows, ascending
}

// Verify checks the store of a stopped process, and changes nothing: recovery runs on the files under an
// overlay that keeps every change in memory, so that what is looked at is what the next start would see. A
// read-only Pebble wouldn't do: what it holds is some state behind the stored position, and only with
// the rest of the log do rows and counters agree. An error is one of the check itself.
func Verify(ctx context.Context, opts Options, check Check) (Verified, error) {
	opts.FS = newOverlay(opts.FS)
	v := &verifier{ctx: ctx, opts: opts, check: check, hit: make(map[uint64]bool), audited: make(map[*keyspace]bool), clean: make(map[*keyspace]bool)}
	v.opts.Fatal = v.trouble
	err := v.tables()
	if err == nil {
		err = v.openAndWalk()
	}
	v.tell()
	return v.sum, err
}

type verifier struct {
	ctx   context.Context
	opts  Options
	check Check
	store *Store
	sum   Verified
	// counted says that the log was replayed, so that counters have to agree with rows.
	counted bool
	hit     map[uint64]bool        // namespaces that have rows which can't be read
	ranges  map[string][]tableSpan // by the tables' file names
	audited map[*keyspace]bool     // whose rows were met
	clean   map[*keyspace]bool     // of the namespace at hand: all rows were met

	mu       sync.Mutex // Pebble's goroutines find things too
	findings []replog.Finding
}

func (v *verifier) say(f replog.Finding) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.findings = append(v.findings, f)
}

// trouble takes an error that would end a process.
func (v *verifier) trouble(err error) {
	v.say(replog.Finding{File: v.opts.Dir, Offset: -1, What: err.Error(), All: true})
}

func (v *verifier) path(elem ...string) string {
	return v.opts.FS.PathJoin(append([]string{v.opts.Dir}, elem...)...)
}

// tables checks every sstable by itself, also those that recovery won't read.
func (v *verifier) tables() error {
	fs, dir := v.opts.FS, v.path(pebbleDir)
	names, err := fs.List(dir)
	if err != nil {
		v.trouble(err)
		return nil
	}
	slices.Sort(names)
	for _, name := range names {
		path := fs.PathJoin(dir, name)
		switch {
		case strings.HasSuffix(name, ".sst"):
			v.sum.Tables++
			if err := checkTable(v.ctx, fs, path, v.say); v.ctx.Err() != nil {
				return v.ctx.Err()
			} else if err != nil {
				v.say(replog.Finding{File: path, Offset: -1, What: err.Error()})
			}
		case !isPebbles(name):
			v.say(replog.Finding{File: path, Offset: -1, What: "it belongs to nothing"})
		}
	}
	return nil
}

func (v *verifier) openAndWalk() (err error) {
	s := newStore(v.opts)
	s.offline = true
	v.store = s
	defer func() {
		if s.db != nil {
			err = errors.Join(err, s.committer.batch.Close(), s.db.Close())
		}
		if s.log != nil {
			err = errors.Join(err, s.log.Close())
		}
	}()
	failed := s.openFiles(replog.Open)
	if failed != nil {
		v.broken(failed)
	}
	if s.log != nil {
		if v.sum.Entries, err = s.log.Verify(v.ctx, v.say); err != nil {
			return err
		}
	}
	if s.db == nil && s.log == nil { // the log is damaged: what Pebble holds by itself can be looked at
		err := s.openPebble(s.logFirst())
		if err != nil {
			v.broken(err)
			return nil
		}
		s.committer.batch = s.db.NewBatch()
		if err := s.load(); err != nil {
			v.broken(err)
			return nil
		}
	}
	if s.db == nil {
		return nil
	}
	if failed == nil {
		v.counted, v.sum.Applied = true, s.Applied()
	}
	return v.walk()
}

// broken takes an error of recovery: nothing of the store can be served.
func (v *verifier) broken(err error) {
	f := replog.FindingOf(v.opts.Dir, err)
	f.All = true
	v.say(f)
}

// tell hands the findings on, each file's with the namespaces that it hits.
func (v *verifier) tell() {
	slices.SortStableFunc(v.findings, func(a, b replog.Finding) int { return strings.Compare(a.File, b.File) })
	said := make(map[string]bool)
	for _, f := range v.findings {
		key := fmt.Sprint(f.File, f.Offset, f.What, f.Namespaces)
		if said[key] {
			continue // the check of the log finds again what opening it did
		}
		said[key] = true
		if name := v.opts.FS.PathBase(f.File); strings.HasSuffix(name, ".sst") && !f.All {
			if v.ranges != nil && v.ranges[name] == nil {
				continue // unfinished or obsolete: the next start removes it
			}
			f.Namespaces, f.All = v.hits(name)
		}
		v.check.Say(f)
	}
}

// tableSpan is the range of namespaces that a table has rows of.
type tableSpan struct{ from, to uint64 }

// hits returns the namespaces that a broken table hits: those in its range whose rows can't be read, or all
// in its range where every row can be, since a filter or an index is not read by a walk.
func (v *verifier) hits(name string) (list []uint64, all bool) {
	if v.ranges == nil { // the store can't be opened
		return nil, true
	}
	var within []uint64
	for _, s := range v.ranges[name] {
		for _, id := range v.known() {
			if id >= s.from && id <= s.to && !slices.Contains(within, id) {
				within = append(within, id)
			}
		}
	}
	for _, id := range within {
		if v.hit[id] {
			list = append(list, id)
		}
	}
	if len(list) == 0 {
		list = within
	}
	slices.Sort(list)
	return list, false
}

// known returns every namespace that the caller names or that has rows, ascending.
func (v *verifier) known() []uint64 {
	list := append(slices.Clone(v.check.Namespaces), v.sum.Namespaces...)
	slices.Sort(list)
	return slices.Compact(list)
}

// noteSpans keeps what the tables span, while the store is open.
func (v *verifier) noteSpans() error {
	levels, err := v.store.db.SSTables()
	if err != nil {
		return fmt.Errorf("list sstables: %w", err)
	}
	v.ranges = make(map[string][]tableSpan)
	for _, level := range levels {
		for _, t := range level {
			from, _, _ := number(t.Smallest.UserKey)
			to, _, _ := number(t.Largest.UserKey)
			name := tableName(t)
			v.ranges[name] = append(v.ranges[name], tableSpan{from, to})
		}
	}
	return nil
}

// Owns says whether a name in a store's directory is a store's.
func Owns(name string) bool {
	return name == pebbleDir || name == logDir || strings.TrimSuffix(name, ".tmp") == manifestNoteFile
}
