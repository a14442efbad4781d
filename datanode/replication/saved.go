package replication

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strings"

	"github.com/atolldb/atoll/datanode/replog"
	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/datanode/tenant"
	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// A save has pebble/ and log/, which are a store, view.base of package tenant, and save.json, which lists them.
const (
	saveFile   = "save.json"
	saveFormat = 1
)

var (
	// ErrNoSave says that a directory is no save, or one of another format.
	ErrNoSave = errors.New("not a save that can be used")
	// ErrSaveDamage says that a save is not what was saved.
	ErrSaveDamage = errors.New("the save is damaged")
)

// saveDirs are the directories that a save's files are in.
func saveDirs() []string { return []string{"", "log", "pebble"} }

// saveManifest says what a save holds.
type saveManifest struct {
	Format      int         `json:"format"`
	NodeID      string      `json:"node_id"`
	ClusterID   string      `json:"cluster_id"`
	MadeMs      int64       `json:"made_ms"` // Unix milliseconds
	History     string      `json:"history_id"`
	Epoch       uint64      `json:"epoch"`
	From        uint64      `json:"from_index"` // what the tables hold at least
	To          uint64      `json:"to_index"`   // what the log goes up to
	MinRevision uint64      `json:"min_revision"`
	View        uint64      `json:"view_revision"`
	Files       []savedFile `json:"files"`
	Checksum    string      `json:"checksum"` // CRC-32C in hex of the record with an empty checksum
}

type savedFile struct {
	Dir  string `json:"dir,omitempty"`
	Name string `json:"name"`
	Size int64  `json:"size"`
	CRC  string `json:"crc,omitempty"` // CRC-32C in hex; of all but tables
}

func (f savedFile) path(fs vfs.FS, dir string) string { return fs.PathJoin(dir, f.Dir, f.Name) }

// seal sets the checksum, and returns the file's content.
func (m *saveManifest) seal() ([]byte, error) {
	m.Checksum = ""
	b, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	m.Checksum = fmt.Sprintf("%08x", replog.Checksum(b))
	return json.Marshal(m)
}

func parseSave(b []byte) (*saveManifest, error) {
	m := new(saveManifest)
	if err := json.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSaveDamage, err)
	}
	if m.Format != saveFormat { // before the checksum, which another format may make otherwise
		return nil, fmt.Errorf("%w: it has format %d, and this program reads format %d: use the version that made it", ErrNoSave, m.Format, saveFormat)
	}
	if want, err := m.seal(); err != nil || !bytes.Equal(b, want) {
		return nil, fmt.Errorf("%w: the checksum doesn't match", ErrSaveDamage)
	}
	for _, f := range m.Files {
		if f.Name == "" || f.Name == "." || f.Name == ".." || strings.ContainsAny(f.Name, `/\`) || !knownDir(f.Dir) {
			return nil, fmt.Errorf("%w: it lists the file %q", ErrSaveDamage, f.Dir+"/"+f.Name)
		}
	}
	return m, nil
}

func knownDir(name string) bool {
	return slices.Contains(saveDirs(), name)
}

// fileSum returns the CRC-32C of a file in hex.
func fileSum(fs vfs.FS, path string) (string, error) {
	f, err := fs.Open(path, vfs.SequentialReadsOption)
	if err != nil {
		return "", err
	}
	sum := crc32.New(castagnoli)
	_, err = io.Copy(sum, f)
	return fmt.Sprintf("%08x", sum.Sum32()), errors.Join(err, f.Close())
}

// Saved is a save that somebody may begin from. It is only read.
type Saved struct {
	fs   vfs.FS
	dir  string
	man  *saveManifest
	view *tenant.View
}

// OpenSave reads a save, but for its tables and entries, which Verify does. Errors are ErrNoSave and
// ErrSaveDamage, which name the file, and the filesystem's.
func OpenSave(fs vfs.FS, dir string) (*Saved, error) {
	path := fs.PathJoin(dir, saveFile)
	b, err := readFile(fs, path)
	if isNotExist(err) {
		return nil, fmt.Errorf("%w: there is no %s: give a directory that BGSAVE has made, as it has made it", ErrNoSave, path)
	}
	if err != nil {
		return nil, err
	}
	s := &Saved{fs: fs, dir: dir}
	if s.man, err = parseSave(b); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, f := range s.man.Files {
		if err := s.check(f); err != nil {
			return nil, fmt.Errorf("%s: %w", f.path(fs, dir), err)
		}
	}
	if s.view, err = tenant.ReadView(fs, dir); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", dir, ErrSaveDamage, err)
	}
	if s.view == nil || s.view.Revision() != s.man.View || s.view.Revision() < s.man.MinRevision {
		return nil, fmt.Errorf("%s: %w: its view isn't the one that was saved", dir, ErrSaveDamage)
	}
	return s, nil
}

func (s *Saved) check(f savedFile) error {
	path := f.path(s.fs, s.dir)
	info, err := s.fs.Stat(path)
	if isNotExist(err) {
		return fmt.Errorf("%w: the file is missing", ErrSaveDamage)
	}
	if err != nil {
		return err
	}
	if info.Size() != f.Size {
		return fmt.Errorf("%w: the file has %d bytes, and had %d", ErrSaveDamage, info.Size(), f.Size)
	}
	if isTable(f.Name) {
		return nil
	}
	if sum, err := fileSum(s.fs, path); err != nil {
		return err
	} else if sum != f.CRC {
		return fmt.Errorf("%w: the file's checksum doesn't match", ErrSaveDamage)
	}
	return nil
}

// View returns the view that was saved.
func (s *Saved) View() *tenant.View { return s.view }

// History is that of the save's rows.
func (s *Saved) History() string { return s.man.History }

// Floor is at or above every revision in the save.
func (s *Saved) Floor() uint64 { return max(s.man.View, s.man.MinRevision, s.man.Epoch) }

// Verify reads every block of the tables, every entry and every row, and recounts, as the check of a stopped node does. An
// error names the first file that isn't what was saved.
func (s *Saved) Verify(ctx context.Context, options func(dir string) store.Options, row func(store.Row) error) error {
	var found []replog.Finding
	check := store.Check{Row: row, Say: func(f replog.Finding) { found = append(found, f) }}
	for n := range s.view.AllNamespaces() {
		check.Namespaces = append(check.Namespaces, n.ID)
	}
	got, err := store.Verify(ctx, options(s.dir), check)
	if err != nil {
		return err
	}
	if len(found) > 0 {
		f := found[0]
		if i := slices.IndexFunc(found, s.names); i >= 0 { // says more than what follows from it
			f = found[i]
		}
		return fmt.Errorf("%s: %w: %s (and %d more findings)", f.File, ErrSaveDamage, f.What, len(found)-1)
	}
	if at := got.Applied; at.Index != s.man.To || at.History != s.man.History || at.Epoch != s.man.Epoch {
		return fmt.Errorf("%s: %w: it goes up to entry %d of epoch %d, and went up to %d of %d", s.dir, ErrSaveDamage, at.Index, at.Epoch, s.man.To, s.man.Epoch)
	}
	return nil
}

// names says whether a finding is of one of the save's files.
func (s *Saved) names(found replog.Finding) bool {
	return slices.ContainsFunc(s.man.Files, func(f savedFile) bool { return f.path(s.fs, s.dir) == found.File })
}

// linkOrCopy links a file, and copies it where that can't be: into another filesystem, or from another user's files. The
// save may have been copied here by a program that doesn't fsync.
func linkOrCopy(fs vfs.FS, from, to string) error {
	if err := fs.Link(from, to); oserror.IsExist(err) {
		return err
	} else if err != nil {
		return vfs.Copy(fs, from, to)
	}
	f, err := fs.OpenReadWrite(to, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Install makes the save's rows those of a node whose directory is dir, which exists and is empty. Tables never change,
// so they are linked where that can be; the rest is copied.
func (s *Saved) Install(ctx context.Context, dir string) error {
	d := disk{s.fs, dir}
	const first = 1
	if _, err := s.fs.Stat(d.path(generationsDir)); !isNotExist(err) {
		return fmt.Errorf("install the save: %s holds a store already, %w", dir, oserror.ErrExist)
	}
	for _, sub := range saveDirs() {
		if err := s.fs.MkdirAll(s.fs.PathJoin(d.generation(first), sub), 0o700); err != nil {
			return fmt.Errorf("install the save: %w", err)
		}
	}
	for _, f := range s.man.Files {
		if f.Dir == "" {
			continue
		}
		from, to := f.path(s.fs, s.dir), f.path(s.fs, d.generation(first))
		copied := vfs.Copy // which fsyncs
		if isTable(f.Name) {
			copied = linkOrCopy
		}
		if err := errors.Join(ctx.Err(), copied(s.fs, from, to)); err != nil {
			return fmt.Errorf("install the save: %s: %w", from, err)
		}
	}
	for _, made := range [...]string{
		d.path(generationsDir, "1", "log"), d.path(generationsDir, "1", "pebble"), d.generation(first), d.path(generationsDir), dir,
	} {
		if err := syncDir(s.fs, made); err != nil {
			return fmt.Errorf("install the save: %w", err)
		}
	}
	return d.makeCurrent(first)
}
