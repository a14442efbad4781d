package consensus

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
)

// bbolt has no checksums of what it holds: a bit that flips on disk would be another term, another vote or another
// command. So each entry of Raft's log carries a CRC-32C of its fields in front of its extensions, and each value of
// the stable store one of its key and value behind it. Where one doesn't match, reading is an error.

// checkedLog is a log whose entries carry checksums in the store below.
type checkedLog struct{ raft.LogStore }

func logSum(l *raft.Log, extensions []byte) uint32 {
	b := binary.LittleEndian.AppendUint64(nil, l.Index)
	b = binary.LittleEndian.AppendUint64(b, l.Term)
	b = append(b, byte(l.Type))
	sum := crc32.Checksum(b, castagnoli)
	return crc32.Update(crc32.Update(sum, castagnoli, l.Data), castagnoli, extensions)
}

// StoreLog implements raft.LogStore.
func (c checkedLog) StoreLog(l *raft.Log) error { return c.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore. The entries are others' too, so copies are stored.
func (c checkedLog) StoreLogs(logs []*raft.Log) error {
	sealed := make([]*raft.Log, len(logs))
	for i, l := range logs {
		s := *l
		s.Extensions = append(binary.LittleEndian.AppendUint32(nil, logSum(l, l.Extensions)), l.Extensions...)
		sealed[i] = &s
	}
	return c.LogStore.StoreLogs(sealed)
}

// GetLog implements raft.LogStore.
func (c checkedLog) GetLog(index uint64, l *raft.Log) error {
	if err := c.LogStore.GetLog(index, l); err != nil {
		return err
	}
	if l.Index != index || len(l.Extensions) < 4 {
		return fmt.Errorf("%w: entry %d of the raft log can't be read", ErrDamage, index)
	}
	sum, rest := binary.LittleEndian.Uint32(l.Extensions), l.Extensions[4:]
	if sum != logSum(l, rest) {
		return fmt.Errorf("%w: entry %d of the raft log: its checksum doesn't match", ErrDamage, index)
	}
	if l.Extensions = rest; len(rest) == 0 {
		l.Extensions = nil
	}
	return nil
}

// checkedStable is a stable store whose values carry checksums.
type checkedStable struct{ *raftboltdb.BoltStore }

func stableSum(key, value []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
}

// Set implements raft.StableStore.
func (c checkedStable) Set(key, value []byte) error {
	return c.BoltStore.Set(key, binary.LittleEndian.AppendUint32(slices.Clone(value), stableSum(key, value)))
}

// Get implements raft.StableStore.
func (c checkedStable) Get(key []byte) ([]byte, error) {
	b, err := c.BoltStore.Get(key)
	if err != nil {
		return nil, err
	}
	if len(b) < 4 || binary.LittleEndian.Uint32(b[len(b)-4:]) != stableSum(key, b[:len(b)-4]) {
		return nil, fmt.Errorf("%w: %s in the raft store: its checksum doesn't match", ErrDamage, key)
	}
	return b[:len(b)-4], nil
}

// SetUint64 implements raft.StableStore.
func (c checkedStable) SetUint64(key []byte, v uint64) error {
	return c.Set(key, binary.BigEndian.AppendUint64(nil, v))
}

// GetUint64 implements raft.StableStore.
func (c checkedStable) GetUint64(key []byte) (uint64, error) {
	b, err := c.Get(key)
	if err != nil {
		return 0, err
	}
	if len(b) != 8 {
		return 0, fmt.Errorf("%w: %s in the raft store has %d bytes, not 8", ErrDamage, key, len(b))
	}
	return binary.BigEndian.Uint64(b), nil
}
