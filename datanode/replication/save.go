package replication

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/datanode/tenant"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// A node's saves are in saves/, each a directory of its own that a new cluster can begin from. One is made under a
// name that ends in temporary, and renamed once it is whole and fsynced; one that goes is renamed back first.
const (
	savesDir   = "saves"
	temporary  = ".tmp"
	savingDir  = "saving" + temporary
	removedDir = "removed" + temporary

	saveTime = "20060102T150405.000Z"
	// saveMax bounds a save. What it may wait for is a flush, which a full disk holds up, and the copy of few entries.
	saveMax = 10 * time.Minute
)

var (
	// ErrSaving is returned while a save is being made.
	ErrSaving = errors.New("a save is being made already")
	// errSaveSpace refuses a save on a disk that writes are refused for.
	errSaveSpace = errors.New("the disk has less free than its reserve")
	errNotHere   = errors.New("this node has nothing that it may serve")
)

// SaveStatus is what is known of this node's saves.
type SaveStatus struct {
	Busy   bool
	Began  time.Time     // if busy
	Last   time.Time     // when the newest one was made; zero: there is none
	Failed bool          // the last attempt since the start
	Took   time.Duration // it took; negative: there was none
}

// saver makes a member's saves, one at a time.
type saver struct {
	m    *Member
	ctx  context.Context // of the saves
	stop context.CancelFunc
	work sync.WaitGroup

	mu     sync.Mutex
	closed bool
	status SaveStatus
}

func newSaver(m *Member) *saver {
	v := &saver{m: m, status: SaveStatus{Took: -1}}
	v.ctx, v.stop = context.WithCancel(context.Background())
	return v
}

// close ends a save under way, and waits for that.
func (v *saver) close() {
	v.mu.Lock()
	v.closed = true
	v.mu.Unlock()
	v.stop()
	v.work.Wait()
}

// Saves tells of this node's saves.
func (m *Member) Saves() SaveStatus {
	m.saver.mu.Lock()
	defer m.saver.mu.Unlock()
	return m.saver.status
}

// BeginSave makes a save in the background, and returns a channel that gets how it ended. Errors are ErrSaving, and why
// there can be none: damage, or too little room.
func (m *Member) BeginSave() (<-chan error, error) {
	v := m.saver
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case v.closed:
		return nil, store.ErrClosed
	case v.status.Busy:
		return nil, ErrSaving
	}
	s, err := m.savable()
	if err != nil {
		v.status.Failed = true
		m.cfg.Logger.Error("a save was asked for, and can't be made", "err", err)
		return nil, err
	}
	v.status.Busy, v.status.Began = true, m.cfg.Now()
	done := make(chan error, 1)
	v.work.Go(func() { done <- v.run(s) })
	return done, nil
}

// savable returns the store that a save is made of. Damage would be copied as it is.
func (m *Member) savable() (*store.Store, error) {
	s := m.current.Load()
	if s == nil || m.blocked.Load() != nil {
		return nil, errNotHere
	}
	if err := s.Damaged(); err != nil {
		return nil, fmt.Errorf("%w: %w", store.ErrReadOnly, err)
	}
	reserve := m.cfg.Options(m.cfg.Dir).ReserveBytes
	if u, err := m.cfg.FS.GetDiskUsage(m.cfg.Dir); s.DiskFull() || err == nil && u.AvailBytes < reserve {
		return nil, fmt.Errorf("%w: %w", store.ErrDiskFull, errSaveSpace)
	}
	return s, nil
}

// run makes a save, and lets go of the oldest.
func (v *saver) run(s *store.Store) error {
	m, began := v.m, v.m.cfg.Now()
	ctx, cancel := context.WithTimeout(v.ctx, saveMax)
	defer cancel()
	name, man, err := m.writeSave(ctx, s)
	if err == nil {
		m.cfg.Logger.Info("made a save", "dir", m.disk.path(savesDir, name), "index", man.To, "replayed", man.To-man.From,
			"view", man.View, "files", len(man.Files), "took", m.cfg.Now().Sub(began))
		if gone := m.disk.pruneSaves(m.cfg.SavesKept, name); gone != nil {
			m.cfg.Logger.Error("remove an old save", "err", gone)
		}
	} else {
		err = errors.Join(err, m.cfg.FS.RemoveAll(m.disk.path(savesDir, savingDir)))
		m.cfg.Logger.Error("the save failed", "err", err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	now := m.cfg.Now()
	v.status.Busy, v.status.Failed, v.status.Took = false, err != nil, now.Sub(began)
	if err == nil {
		v.status.Last = time.UnixMilli(man.MadeMs)
	}
	return err
}

// writeSave makes a save, and returns its name. Nothing of it is seen before all of it is fsynced.
func (m *Member) writeSave(ctx context.Context, s *store.Store) (name string, man *saveManifest, err error) {
	fs, temp := m.cfg.FS, m.disk.path(savesDir, savingDir)
	if err := fs.RemoveAll(temp); err != nil {
		return "", nil, err
	}
	if err := fs.MkdirAll(temp, 0o700); err != nil {
		return "", nil, err
	}
	cp, err := s.Checkpoint(ctx, store.PebbleDir(temp, fs.PathJoin))
	if err != nil {
		return "", nil, err
	}
	defer cp.Pin.Release()
	view, at, err := m.viewOf(ctx, s)
	if err != nil {
		return "", nil, err
	}
	if err := s.CopyLog(ctx, temp, cp.From, at.Index); err != nil {
		return "", nil, err
	}
	if err := tenant.WriteView(fs, temp, view); err != nil {
		return "", nil, fmt.Errorf("write the view: %w", err)
	}
	if err := s.Damaged(); err != nil { // found by what has read it
		return "", nil, err
	}
	now := m.cfg.Now()
	man = &saveManifest{
		Format: saveFormat, NodeID: m.cfg.NodeID, ClusterID: m.cfg.ClusterID(), MadeMs: now.UnixMilli(),
		History: at.History, Epoch: at.Epoch, From: cp.From.Index, To: at.Index, MinRevision: at.MinRevision, View: view.Revision(),
	}
	if man.Files, err = listSave(fs, temp); err != nil {
		return "", nil, err
	}
	name = now.UTC().Format(saveTime) + "-" + strconv.FormatUint(at.Index, 10)
	return name, man, m.publishSave(temp, name, man)
}

// publishSave writes the manifest, and gives the save its name.
func (m *Member) publishSave(temp, name string, man *saveManifest) error {
	fs, path := m.cfg.FS, m.disk.path(savesDir, name)
	b, err := man.seal()
	if err != nil {
		return err
	}
	if err := writeFile(fs, temp, saveFile, b); err != nil {
		return err
	}
	if err := syncDir(fs, m.cfg.Dir); err != nil { // the saves' directory may be new
		return err
	}
	if _, err := fs.Stat(path); !isNotExist(err) {
		return fmt.Errorf("%s is there already", path)
	}
	if err := fs.Rename(temp, path); err != nil {
		return err
	}
	return syncDir(fs, m.disk.path(savesDir))
}

// viewOf returns a view and the last entry that a save with it has. The view is at least what the entries need (P1).
// It is taken before the position, so that the purge of a namespace whose tombstone it no longer has is among
// the entries: this node had applied that before the tombstone went.
func (m *Member) viewOf(ctx context.Context, s *store.Store) (*tenant.View, store.Applied, error) {
	for {
		v, at := m.cfg.Views.Current(), s.Applied()
		if v != nil && ViewBeforeData(v.Revision(), at.MinRevision) {
			return v, at, nil
		}
		if _, err := m.cfg.Views.Wait(ctx, at.MinRevision); err != nil {
			return nil, at, err
		}
	}
}

// listSave returns what is in a save. Tables have checksums of their own in each block, which are looked at when
// the save is used, so a save takes no longer where there is much.
func listSave(fs vfs.FS, dir string) ([]savedFile, error) {
	var list []savedFile
	for _, sub := range saveDirs() {
		names, err := fs.List(fs.PathJoin(dir, sub))
		if err != nil {
			return nil, fmt.Errorf("list the save: %w", err)
		}
		slices.Sort(names)
		for _, name := range names {
			if sub == "" && slices.Contains(saveDirs(), name) {
				continue
			}
			f := savedFile{Dir: sub, Name: name}
			info, err := fs.Stat(f.path(fs, dir))
			if err == nil && !isTable(name) {
				f.CRC, err = fileSum(fs, f.path(fs, dir))
			}
			if err != nil {
				return nil, fmt.Errorf("list the save: %w", err)
			}
			f.Size = info.Size()
			list = append(list, f)
		}
	}
	return list, nil
}

func isTable(name string) bool { return strings.HasSuffix(name, ".sst") }

// saves returns the names of the saves, oldest first.
func (d disk) saves() ([]string, error) {
	names, err := d.fs.List(d.path(savesDir))
	if isNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list saves: %w", err)
	}
	ours := regexp.MustCompile(`^\d{8}T\d{6}\.\d{3}Z-\d+$`)
	names = slices.DeleteFunc(names, func(n string) bool { return !ours.MatchString(n) })
	slices.Sort(names)
	return names, nil
}

// pruneSaves removes the oldest beyond so many, but never the one that was just made, whatever the clock says.
func (d disk) pruneSaves(kept int, made string) error {
	names, err := d.saves()
	if err != nil {
		return err
	}
	names = slices.DeleteFunc(names, func(n string) bool { return n == made })
	for len(names) > max(kept-1, 0) {
		if err := d.removeSave(names[0]); err != nil {
			return err
		}
		names = names[1:]
	}
	return nil
}

// removeSave takes the name first: what has it is whole.
func (d disk) removeSave(name string) error {
	gone := d.path(savesDir, removedDir)
	if err := d.fs.RemoveAll(gone); err != nil {
		return err
	}
	if err := d.fs.Rename(d.path(savesDir, name), gone); err != nil {
		return err
	}
	if err := syncDir(d.fs, d.path(savesDir)); err != nil {
		return err
	}
	return d.fs.RemoveAll(gone)
}

// openSaves removes what an earlier process has left half made, and returns when the newest one was made.
func (d disk) openSaves() (last time.Time, err error) {
	for _, name := range [...]string{savingDir, removedDir} {
		if err := d.fs.RemoveAll(d.path(savesDir, name)); err != nil {
			return last, err
		}
	}
	names, err := d.saves()
	if err != nil || len(names) == 0 {
		return last, err
	}
	at, _, _ := strings.Cut(names[len(names)-1], "-")
	return time.Parse(saveTime, at)
}
