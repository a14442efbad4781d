package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/atolldb/atoll/datanode/replog"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Options configure a store; every field must be set.
type Options struct {
	FS  vfs.FS
	Dir string // holds pebble/, log/ and manifest.synced
	// BlockCache is shared by the generations of a node; MemTables of MemTableBytes are taken out of it.
	BlockCache *pebble.Cache
	// RowCacheBytes is for hot rows: a quarter of it for what overwrites must know of rows, a sixteenth for the filter,
	// which takes twice that while it is made anew.
	RowCacheBytes int
	MemTableBytes int
	SegmentBytes  int64 // of the log
	RetainBytes   int64 // of the log
	RetainAge     time.Duration
	ReserveBytes  uint64 // writes are refused when the disk has less than this free
	SyncEvery     time.Duration
	Now           func() time.Time
	Logger        *slog.Logger
	Fatal         func(error) // ends the process; called when what the disk holds is unknown
	// Expired, unless nil, is told how many keys of a namespace a run has removed or replaced since their time had run out.
	Expired func(namespace uint64, keys int)
}

// Store is one generation: a Pebble store, its replicated log, and what is derived from the rows.
type Store struct {
	opts  Options
	db    *pebble.DB
	using sync.WaitGroup // of db beside runs; added to only while the gate is held and closed is false
	log   *replog.Log
	table *rowTable

	manifest *manifestNotes // set by openPebble

	filter   keyFilter
	places   chan struct{} // for runs that hold much
	pacing   chan struct{} // held by the large run that is being committed
	unsynced chan struct{} // wakes syncLoop

	namespaces sync.Map // id -> *Namespace
	committer  committer
	versions   atomic.Uint64
	fresh      bool        // Pebble's files are to be made
	offline    bool        // Pebble doesn't compact
	opened     atomic.Bool // Pebble is open: it may compact
	diskFull   atomic.Bool
	damage     atomic.Pointer[error] // the first that was found
	harmed     sync.Map              // paths of damaged files that were logged

	// gate is held shared by every run that an executor lets in (Enter), and exclusively where the
	// whole generation changes under readers: applying on a replica, a change of role, closing.
	gate   sync.RWMutex
	closed bool

	applied  atomic.Pointer[Applied]
	position atomic.Uint64 // index of the position row written last
	durable  uint64        // a position that a flush has made durable; only retireLoop uses it
	applyMu  sync.Mutex    // serializes appliers on a replica and changes of role; taken before the gate
	// Only the applier touches these.
	sincePosition int
	changed       []*keyspace
	unlooked      int // bytes applied on a replica since Pebble was found to have room

	waitMu   sync.Mutex
	waiting  atomic.Bool
	advanced chan struct{} // closed when applied moves

	purge   purgeState
	sweep   chan struct{}
	sweepMu sync.Mutex // one pass at a time
	due     alarm      // of all namespaces
	failed  atomic.Bool
	closing atomic.Bool

	ended  context.Context // of the workers
	stop   context.CancelFunc
	worker sync.WaitGroup
}

const (
	pebbleDir = "pebble"
	logDir    = "log"
	memTables = 4 // writes wait when so many are unflushed
	// MemTables is how many memtables a store may hold: those that wait, and one that is reused. Pebble takes their
	// memory out of the block cache, so whoever makes that adds them: a cache of less than they take holds no block.
	MemTables  = memTables + 1
	l0Stop     = 24               // or so many sublevels of level 0 uncompacted
	sayAgain   = 10               // seconds between two words about an error that goes on
	closeFlush = 30 * time.Second // a close that can't flush leaves the rest to the log's replay
)

// Create makes an empty store at start and opens it as a replica's.
func Create(opts Options, start replog.Start) (*Store, error) {
	for _, d := range [...]string{pebbleDir, logDir} {
		if err := opts.FS.MkdirAll(opts.FS.PathJoin(opts.Dir, d), 0o755); err != nil {
			return nil, fmt.Errorf("create store: %w", err)
		}
	}
	l, err := replog.Create(opts.log(), start)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(l.Close(), syncDir(opts.FS, opts.Dir), syncDir(opts.FS, opts.FS.PathDir(opts.Dir))); err != nil {
		return nil, fmt.Errorf("create store: %w", err)
	}
	return open(opts, replog.Open, true)
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (o *Options) log() replog.Options {
	return replog.Options{
		FS: o.FS, Dir: o.FS.PathJoin(o.Dir, logDir), SegmentBytes: o.SegmentBytes, RetainBytes: o.RetainBytes,
		RetainAge: o.RetainAge, Now: o.Now, Logger: o.Logger,
	}
}

// Open opens a store as a replica's: it replays the log over what Pebble holds, so that when it
// returns every entry of the log is shown.
func Open(opts Options) (*Store, error) { return open(opts, replog.Open, false) }

// OpenSnapshot opens the files of a checkpoint as a store. If they have no log yet, an empty one is made
// that starts at the position that Pebble holds; the entries up to the checkpoint's end are to follow.
func OpenSnapshot(opts Options) (*Store, error) {
	if err := opts.FS.MkdirAll(opts.FS.PathJoin(opts.Dir, logDir), 0o755); err != nil {
		return nil, fmt.Errorf("open snapshot: %w", err)
	}
	if err := syncDir(opts.FS, opts.Dir); err != nil {
		return nil, fmt.Errorf("open snapshot: %w", err)
	}
	return open(opts, nil, false)
}

// newStore makes the parts of a store that need no files.
func newStore(opts Options) *Store {
	s := &Store{opts: opts, sweep: make(chan struct{}, 1), places: make(chan struct{}, largeRuns()),
		pacing: make(chan struct{}, 1), unsynced: make(chan struct{}, 1)}
	s.table = newRowTable(opts.RowCacheBytes/16*11, opts.RowCacheBytes/4)
	s.filter.limit, s.filter.crowds = int64(opts.RowCacheBytes/16), make(chan struct{}, 1)
	s.committer.idle.L = &s.committer.mu
	s.applied.Store(&Applied{})
	s.purge.wake = make(chan struct{}, 1)
	return s
}

func open(opts Options, openLog func(replog.Options) (*replog.Log, error), fresh bool) (*Store, error) {
	s := newStore(opts)
	s.fresh = fresh
	if err := s.openFiles(openLog); err != nil {
		if s.db != nil {
			err = errors.Join(err, s.committer.batch.Close(), s.db.Close())
		}
		if s.log != nil {
			err = errors.Join(err, s.log.Close())
		}
		return nil, fmt.Errorf("open store %s: %w", opts.Dir, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.ended, s.stop = ctx, cancel
	s.worker.Go(func() { s.syncLoop(ctx) })
	s.worker.Go(func() { s.retireLoop(ctx) })
	s.worker.Go(func() { s.sweepLoop(ctx) })
	s.worker.Go(func() { s.purgeLoop(ctx) })
	s.worker.Go(func() { s.filterLoop(ctx) })
	return s, nil
}

// openFiles opens the log, then Pebble: opening a log fsyncs it, and Pebble makes durable what a killed
// process had only written. A snapshot's log begins where its Pebble says.
func (s *Store) openFiles(openLog func(replog.Options) (*replog.Log, error)) (err error) {
	fs := s.logFirst()
	if openLog != nil {
		if s.log, err = openLog(s.opts.log()); err != nil {
			return err
		}
		fs.log.Store(s.log)
	}
	if err := s.openPebble(fs); err != nil {
		return err
	}
	s.committer.batch = s.db.NewBatch()
	if err := s.load(); err != nil {
		return err
	}
	if openLog == nil {
		st := s.applied.Load()
		s.log, err = replog.OpenOrCreate(s.opts.log(), replog.Start{History: st.History, Epoch: st.Epoch, Index: st.Index})
		if err != nil {
			return err
		}
		fs.log.Store(s.log)
	}
	if err := s.replay(); err != nil {
		return err
	}
	return s.settle()
}

func (s *Store) logFirst() *logFirstFS {
	return &logFirstFS{
		FS: s.opts.FS, dir: s.opts.FS.PathJoin(s.opts.Dir, pebbleDir), fatal: func(err error) { _ = s.fatal(err) },
		hopeless: func() bool { return s.Damaged() != nil && !s.closing.Load() }, // a compaction of what is damaged
	}
}

// settle stores the position that the replay has reached, and flushes behind: the flush is also what
// makes Pebble look again at how many compactions it may run.
func (s *Store) settle() error {
	if s.applied.Load().Index == 0 {
		return nil
	}
	if err := s.storePosition(); err != nil {
		return err
	}
	if _, err := s.db.AsyncFlush(); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	return nil
}

func (s *Store) openPebble(fs *logFirstFS) error {
	notes, err := readManifestNotes(s.opts.FS, s.opts.Dir)
	if err != nil {
		return err
	}
	if err := checkManifest(fs, fs.dir, notes); err != nil {
		return err
	}
	s.manifest, fs.manifest = notes, notes
	o := &pebble.Options{
		FS:                          fs,
		Comparer:                    comparer(),
		Cache:                       s.opts.BlockCache,
		DisableWAL:                  true,
		ErrorIfNotExists:            !s.fresh, // else a lost marker would make it remove all rows
		DisableAutomaticCompactions: s.offline,
		FormatMajorVersion:          pebble.FormatNewest,
		MemTableSize:                uint64(s.opts.MemTableBytes),
		MemTableStopWritesThreshold: memTables,
		L0CompactionThreshold:       8,
		L0StopWritesThreshold:       l0Stop,
		LBaseMaxBytes:               256 << 20,
		MaxOpenFiles:                4096,
		CompactionConcurrencyRange:  s.compactions,
		Logger:                      pebbleLogger{s.opts.Logger, fs.fatal},
	}
	if s.offline {
		o.L0StopWritesThreshold = math.MaxInt // nothing would ever compact level 0
	}
	var said atomic.Int64
	o.EventListener = &pebble.EventListener{BackgroundError: func(err error) {
		if now, last := s.opts.Now().Unix(), said.Load(); now-last >= sayAgain && said.CompareAndSwap(last, now) {
			s.opts.Logger.Error("pebble tries again", "err", err.Error())
		}
		fs.pause.Store(true)
	}, DataCorruption: s.corrupted}
	for i := range o.Levels {
		o.Levels[i].BlockSize = 16 << 10
		o.Levels[i].FilterPolicy = bloomPolicy
	}
	o.EnsureDefaults()
	db, err := pebble.Open(fs.dir, o)
	if err != nil {
		return fmt.Errorf("open pebble, of formats up to %s: %w", pebble.FormatNewest, err)
	}
	s.db = db
	s.opened.Store(true)
	return nil
}

// compactions bounds Pebble's concurrent compactions: none while it opens, since Open waits for those
// that it has begun, and a full sync or a restart would wait for a rewrite of level 0.
func (s *Store) compactions() (low, high int) {
	if !s.opened.Load() {
		return 0, 1 // an upper bound of 0 makes Pebble divide by it
	}
	return 1, 2
}

// load reads the position and what else the node keeps about its keyspaces.
func (s *Store) load() error {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{0}, UpperBound: []byte{1}})
	if err != nil {
		return err
	}
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		var v []byte
		if v, err = it.ValueAndErr(); err == nil {
			err = s.loadRow(it.Key(), v)
		}
	}
	return errors.Join(err, it.Error(), it.Close())
}

func (s *Store) loadRow(key, value []byte) error {
	k, ok := parseRowKey(key)
	if !ok {
		return fmt.Errorf("%w: system row %x", ErrDamage, key)
	}
	switch k.kind {
	case sysPosition:
		a, err := decodePosition(value)
		if err != nil {
			return err
		}
		s.applied.Store(&a)
		s.position.Store(a.Index)
		s.versions.Store(a.Versions)
	case sysCounters:
		ns, rest, _ := number(k.rest)
		ks, _, ok := number(rest)
		if !ok || !s.Namespace(ns).space(ks).decodeCounters(value) {
			return fmt.Errorf("%w: counters row %x", ErrDamage, key)
		}
	default:
		s.observeSystem(k, value, true)
	}
	return nil
}

// replay applies what the log holds beyond the position. Pebble may hold some of it already; effects
// are physical, so applying them again changes nothing.
func (s *Store) replay() error {
	from := s.applied.Load().Index
	st := s.log.State()
	if st.Last < from {
		return fmt.Errorf("%w: the store holds entry %d, its log ends at %d", ErrDamage, from, st.Last)
	}
	if st.Last == from {
		return nil
	}
	r, err := s.log.NewReader(from + 1)
	if err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	began := s.opts.Now()
	if err := s.ApplyTo(context.Background(), r, st.Last); err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	s.opts.Logger.Info("replayed the log", "from", from+1, "to", st.Last, "took", s.opts.Now().Sub(began))
	return nil
}

// Enter lets a run in; the caller pairs it with Leave. It fails once the generation is closed.
func (s *Store) Enter() bool {
	s.gate.RLock()
	if s.closed {
		s.gate.RUnlock()
		return false
	}
	return true
}

// Leave ends what Enter began.
func (s *Store) Leave() { s.gate.RUnlock() }

// use keeps Close waiting until using.Done, without holding up anybody else. It fails once the generation
// is closed.
func (s *Store) use() bool {
	if !s.Enter() {
		return false
	}
	defer s.Leave()
	s.using.Add(1)
	return true
}

// SyncLog fsyncs what the log holds. After ErrClosed nothing happened; any other error ends the process.
func (s *Store) SyncLog() error {
	if !s.use() {
		return ErrClosed
	}
	defer s.using.Done()
	return s.log.Sync()
}

// Applied returns the last entry whose effects the store shows.
func (s *Store) Applied() Applied { return *s.applied.Load() }

// WaitApplied returns once the store shows the entry of that index.
func (s *Store) WaitApplied(ctx context.Context, index uint64) error {
	for {
		s.waitMu.Lock()
		if s.advanced == nil {
			s.advanced = make(chan struct{})
		}
		advanced := s.advanced
		s.waiting.Store(true)
		s.waitMu.Unlock()
		if s.applied.Load().Index >= index {
			return nil
		}
		select {
		case <-advanced:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.ended.Done():
			return ErrClosed
		}
	}
}

// advance wakes those in WaitApplied. Nobody waiting costs one load.
func (s *Store) advance() {
	if !s.waiting.Load() {
		return
	}
	s.waitMu.Lock()
	defer s.waitMu.Unlock()
	s.waiting.Store(false)
	close(s.advanced)
	s.advanced = nil
}

// Log returns the store's log, for replication.
func (s *Store) Log() *replog.Log { return s.log }

// Total sums the counters of all namespaces.
func (s *Store) Total() Counters {
	var sum Counters
	s.namespaces.Range(func(_, n any) bool {
		c := n.(*Namespace).Counters()
		sum.Keys += c.Keys
		sum.Bytes += c.Bytes
		sum.Expires += c.Expires
		return true
	})
	return sum
}

// Metrics returns Pebble's own.
func (s *Store) Metrics() *pebble.Metrics { return s.db.Metrics() }

// DiskFull says whether writes are refused for want of space.
func (s *Store) DiskFull() bool { return s.diskFull.Load() }

// Close waits for runs, flushes, and closes the store. Later Enters and Commits fail.
func (s *Store) Close() error {
	s.closing.Store(true)
	s.stop()
	s.worker.Wait()
	s.applyMu.Lock()
	defer s.applyMu.Unlock()
	s.gate.Lock()
	defer s.gate.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	c := &s.committer
	c.mu.Lock()
	c.shut = true
	for c.busy {
		c.idle.Wait()
	}
	c.mu.Unlock()
	s.using.Wait()
	var err error
	if !s.failed.Load() { // else nobody knows what the disk holds
		err = s.storePosition()
	}
	if err == nil && !s.failed.Load() {
		ctx, cancel := context.WithTimeout(context.Background(), closeFlush)
		defer cancel()
		err = s.flush(ctx)
	}
	return errors.Join(err, c.batch.Close(), s.db.Close(), s.log.Close())
}
