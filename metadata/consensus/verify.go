package consensus

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc64"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/raft"

	"github.com/atolldb/atoll/raftfsm"
)

// Finding is one thing that a check of a metadata directory has found wrong.
type Finding struct {
	File   string
	Offset int64 // in the file, in bytes; -1: not known
	What   string
}

// Verified sums up what was checked.
type Verified struct {
	Entries   uint64 `json:"entries"` // of Raft's log
	Snapshots int    `json:"snapshots"`
}

// Verify checks the directory of a stopped metadata node, and changes nothing: bbolt and the log are opened
// read-only, snapshots are read as files. What is wrong is handed to say. An error is one of the check itself.
func Verify(ctx context.Context, dir, nodeID string, say func(Finding)) (Verified, error) {
	v := &verifier{ctx: ctx, dir: dir, say: say}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return v.sum, fmt.Errorf("read metadata directory: %w", err)
	}
	for _, e := range entries {
		switch strings.TrimSuffix(e.Name(), ".tmp") {
		case identityFile, boltFile, snapshotsDir:
		default:
			v.find(e.Name(), errors.New("it belongs to nothing"))
		}
	}
	v.identity(nodeID)
	v.snapshots()
	if err := v.bolt(); err != nil {
		v.find(boltFile, err)
	}
	return v.sum, ctx.Err()
}

type verifier struct {
	ctx    context.Context
	dir    string
	say    func(Finding)
	sum    Verified
	newest uint64 // index of the newest whole snapshot
}

func (v *verifier) find(name string, err error) {
	v.say(Finding{File: filepath.Join(v.dir, name), Offset: -1, What: err.Error()})
}

func (v *verifier) identity(nodeID string) {
	data, err := os.ReadFile(filepath.Join(v.dir, identityFile))
	var id identity
	if err == nil {
		id, err = parseIdentity(data)
	}
	switch {
	case err != nil:
		v.find(identityFile, err)
	case id.NodeID != nodeID:
		v.find(identityFile, fmt.Errorf("it belongs to node %s, the directory to %s", id.NodeID, nodeID))
	}
}

// snapshots reads each snapshot as Raft and the state machine would.
func (v *verifier) snapshots() {
	entries, err := os.ReadDir(filepath.Join(v.dir, snapshotsDir, snapshotsDir))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		v.find(snapshotsDir, err)
	}
	for _, e := range entries {
		name := filepath.Join(snapshotsDir, snapshotsDir, e.Name())
		if strings.HasSuffix(name, ".tmp") || v.ctx.Err() != nil {
			continue // Raft removes what it hasn't finished
		}
		v.sum.Snapshots++
		index, err := readSnapshot(filepath.Join(v.dir, name))
		if err != nil {
			v.find(name, err)
			continue
		}
		v.newest = max(v.newest, index)
	}
}

func readSnapshot(dir string) (index uint64, err error) {
	data, err := os.ReadFile(filepath.Join(dir, "meta.json"))
	if err != nil {
		return 0, err
	}
	var meta struct { // raft's own, which isn't exported
		raft.SnapshotMeta
		CRC []byte
	}
	if err := json.Unmarshal(data, &meta); err != nil {
		return 0, fmt.Errorf("meta.json: %w", err)
	}
	state, err := os.ReadFile(filepath.Join(dir, "state.bin"))
	if err != nil {
		return 0, err
	}
	if want := fmt.Sprintf("%d-%d-", meta.Term, meta.Index); !strings.HasPrefix(filepath.Base(dir), want) {
		return 0, fmt.Errorf("meta.json: it says term %d and index %d", meta.Term, meta.Index)
	}
	sum := crc64.New(crc64.MakeTable(crc64.ECMA))
	_, _ = sum.Write(state) // a hash never fails
	if !bytes.Equal(sum.Sum(nil), meta.CRC) {
		return 0, errors.New("state.bin: its checksum doesn't match")
	}
	fsm, err := raftfsm.New()
	if err == nil {
		err = fsm.Restore(bytes.NewReader(state))
	}
	if err != nil {
		return 0, fmt.Errorf("state.bin: %w", err)
	}
	return meta.Index, nil
}

// bolt checks Raft's store and what it holds.
func (v *verifier) bolt() error {
	path := filepath.Join(v.dir, boltFile)
	if _, err := os.Stat(path); err != nil {
		return err
	}
	fsm, err := raftfsm.New()
	if err != nil {
		return err
	}
	first := uint64(0)
	stale, err := readBolt(path, func(l *raft.Log, err error) {
		if first == 0 && l != nil {
			first = l.Index
		}
		if err == nil && l.Type == raft.LogCommand {
			_, err = fsm.Decode(l.Data)
		}
		if err != nil {
			v.find(boltFile, err)
			return
		}
		v.sum.Entries++
	})
	if stale {
		v.find(boltFile, errors.New("the older meta page is broken; the next transaction mends it"))
	}
	if err != nil {
		return err
	}
	if first > v.newest+1 {
		v.find(boltFile, fmt.Errorf("the log begins at entry %d, and the newest whole snapshot ends at %d", first, v.newest))
	}
	return nil
}
