package consensus

import (
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
)

// openStore opens Raft's log.
func openStore(dir string) (*raftboltdb.BoltStore, error) {
	store, err := raftboltdb.New(raftboltdb.Options{
		Path: filepath.Join(dir, "raft.db"),
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
