package consensus

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
)

const (
	boltFile     = "raft.db"
	snapshotsDir = "snapshots" // in which Raft makes another one of that name
)

// openStore opens Raft's log. It reads all of an existing one first: bbolt and Raft end the process on some of what
// is broken, and say little.
func openStore(dir string) (*raftboltdb.BoltStore, error) {
	if info, err := os.Stat(filepath.Join(dir, boltFile)); err == nil && info.Size() > 0 {
		var broken error
		_, err := readBolt(filepath.Join(dir, boltFile), func(_ *raft.Log, err error) { broken = errors.Join(broken, err) })
		if err = errors.Join(err, broken); err != nil {
			return nil, err
		}
	}
	store, err := raftboltdb.New(raftboltdb.Options{
		Path: filepath.Join(dir, boltFile),
		BoltOptions: &bbolt.Options{
			Timeout: time.Second, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType,
		},
		MsgpackUseNewTimeFormat: true,
	})
	if err != nil {
		return nil, fmt.Errorf("open raft log: %w", err)
	}
	return store, nil
}

// watchedLog ends the node when an append hangs or fails: its heartbeats don't need the disk, so it
// would stay leader of a cluster that can change nothing.
type watchedLog struct {
	raft.LogStore
	stallMax time.Duration
	fatal    func(error)
}

// StoreLog implements raft.LogStore.
func (l *watchedLog) StoreLog(log *raft.Log) error { return l.StoreLogs([]*raft.Log{log}) }

// StoreLogs implements raft.LogStore.
func (l *watchedLog) StoreLogs(logs []*raft.Log) error {
	watchdog := time.AfterFunc(l.stallMax, func() {
		l.fatal(fmt.Errorf("an append to the raft log takes longer than %v: the disk hangs", l.stallMax))
	})
	defer watchdog.Stop()
	err := l.LogStore.StoreLogs(logs)
	if err != nil && !errors.Is(err, syscall.ENOSPC) { // a full disk refuses changes; it breaks no promise
		l.fatal(fmt.Errorf("append to the raft log: %w", err))
	}
	return err
}
