package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/atolldb/atoll/rpc/atomicfile"
	"github.com/atolldb/atoll/rpc/ident"
)

const (
	markerFile     = "atoll.json"
	markerFormat   = 1
	lockFile       = "LOCK"
	adminTokenFile = "admin-token"
)

// marker is what makes a directory Atoll's.
type marker struct {
	Format int    `json:"format"`
	NodeID string `json:"node_id"`
}

// dataDir is a data directory that this process alone uses, until Close.
type dataDir struct {
	path   string
	nodeID string
	lock   *os.File
}

// openDataDir takes a data directory into possession, and makes it if it is new. It refuses one that
// holds somebody else's files, one of another format or node, and one that a running process uses.
func openDataDir(path, nodeID string) (_ *dataDir, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("data directory %s: %w", path, plain(err))
		}
	}()
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	// Nothing is put into a directory of somebody else, not even the lock.
	if err := checkOurs(path); err != nil {
		return nil, err
	}
	d := &dataDir{path: path}
	if d.lock, err = lock(filepath.Join(path, lockFile)); err != nil {
		return nil, err
	}
	if err := d.identify(nodeID); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// plain strips the system call and path of a file error: the message names the directory already.
func plain(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

func checkOurs(path string) error {
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	foreign := ""
	for _, e := range entries {
		switch name := e.Name(); name {
		case markerFile:
			return nil
		case lockFile, markerFile + ".tmp", "lost+found": // the last is that of a fresh file system
		default:
			foreign = name
		}
	}
	if foreign != "" {
		return fmt.Errorf("it is not Atoll's: it holds %q and no %s; give an empty or a new one", foreign, markerFile)
	}
	return nil
}

func lock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err = flock(f); err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = fmt.Fprintf(f, "%d\n", os.Getpid())
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// flock takes the lock, or says who has it.
func flock(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		holder, _ := os.ReadFile(f.Name()) // the process id is only a hint
		return fmt.Errorf("another process uses it (process %s)", strings.TrimSpace(string(holder)))
	}
	return err
}

// identify reads the marker, or writes that of a new directory.
func (d *dataDir) identify(nodeID string) error {
	path := filepath.Join(d.path, markerFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if nodeID == "" {
			nodeID = "node-" + strings.ToLower(rand.Text()[:10])
		}
		d.nodeID = nodeID
		return d.writeMarker(marker{Format: markerFormat, NodeID: nodeID})
	}
	if err != nil {
		return err
	}
	m, err := parseMarker(data)
	if err != nil {
		return err
	}
	if nodeID != "" && nodeID != m.NodeID {
		return fmt.Errorf("it belongs to node %q, not to %q", m.NodeID, nodeID)
	}
	d.nodeID = m.NodeID
	return nil
}

func parseMarker(data []byte) (marker, error) {
	var m marker
	err := json.Unmarshal(data, &m)
	switch {
	case err == nil && m.Format != markerFormat:
		return m, fmt.Errorf("it has format %d, and this version knows format %d alone", m.Format, markerFormat)
	case err != nil || ident.Check(m.NodeID) != nil:
		return m, fmt.Errorf("its %s is damaged", markerFile)
	}
	return m, nil
}

func (d *dataDir) writeMarker(m marker) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(d.path, markerFile), append(data, '\n'))
}

// sub makes a directory below, and returns its path.
func (d *dataDir) sub(name string) (string, error) {
	path := filepath.Join(d.path, name)
	if err := os.MkdirAll(path, 0o700); err != nil {
		return "", fmt.Errorf("data directory %s: %w", d.path, plain(err))
	}
	return path, nil
}

// Close gives the directory free.
func (d *dataDir) Close() error {
	if d.lock == nil {
		return nil
	}
	return d.lock.Close()
}
