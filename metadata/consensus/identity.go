package consensus

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/atolldb/atoll/rpc/atomicfile"
	"github.com/atolldb/atoll/rpc/ident"
)

const (
	identityFile   = "identity.json"
	identityFormat = 1
)

// identity says whose a metadata directory is.
type identity struct {
	Format int    `json:"format"`
	NodeID string `json:"node_id"`
	// Incarnation is made with the directory: the cluster keeps it, so that an emptied one is another's.
	Incarnation string `json:"incarnation"`
	ClusterID   string `json:"cluster_id"` // empty until a joining node knows it
	Joined      bool   `json:"joined"`     // it never bootstraps
	Voters      int    `json:"voters"`     // when last seen; only the timeouts depend on it
	// HistoryID is the metadata history that the directory's log belongs to; empty until it is known.
	HistoryID string `json:"metadata_history_id,omitempty"`
	Checksum  string `json:"checksum"` // CRC-32C in hex of the record with an empty checksum
}

// openIdentity reads a directory's identity, or makes that of a new one.
func openIdentity(c *Config) (identity, error) {
	path := filepath.Join(c.Dir, identityFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := ident.Check(c.NodeID); err != nil {
			return identity{}, fmt.Errorf("node id %q %w", c.NodeID, err)
		}
		id := identity{Format: identityFormat, NodeID: c.NodeID, Incarnation: newID(), Joined: len(c.Join) > 0}
		if !id.Joined {
			id.ClusterID = newID()
		}
		return id, id.save(c.Dir)
	}
	if err != nil {
		return identity{}, fmt.Errorf("read metadata identity: %w", err)
	}
	id, err := parseIdentity(data)
	if err != nil {
		return identity{}, fmt.Errorf("read metadata identity %s: %w", path, err)
	}
	if id.Incarnation == "" {
		return identity{}, fmt.Errorf("metadata identity %s has no incarnation: it is damaged", path)
	}
	if id.NodeID != c.NodeID {
		return identity{}, fmt.Errorf("metadata directory %s is that of node %q, not of %q: %w", c.Dir, id.NodeID, c.NodeID, ErrForeign)
	}
	return id, nil
}

func parseIdentity(data []byte) (identity, error) {
	var id identity
	if err := json.Unmarshal(data, &id); err != nil {
		return identity{}, fmt.Errorf("%w: %w", ErrDamage, err)
	}
	if id.Format != identityFormat { // before the checksum, which another format may make otherwise
		return identity{}, fmt.Errorf("%w: format %d, this version knows format %d", ErrFormat, id.Format, identityFormat)
	}
	want := id.Checksum
	if _, err := id.seal(); err != nil || id.Checksum != want {
		return identity{}, fmt.Errorf("%w: its checksum doesn't match", ErrDamage)
	}
	return id, nil
}

// seal sets the checksum, and returns the file's content.
func (id *identity) seal() ([]byte, error) {
	id.Checksum = ""
	data, err := json.Marshal(id)
	if err != nil {
		return nil, err
	}
	id.Checksum = fmt.Sprintf("%08x", crc32.Checksum(data, castagnoli))
	return json.MarshalIndent(id, "", "  ")
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (id identity) save(dir string) error {
	data, err := id.seal()
	if err != nil {
		return fmt.Errorf("write metadata identity: %w", err)
	}
	return atomicfile.Write(filepath.Join(dir, identityFile), append(data, '\n'))
}

// newID returns 128 random bits in hex.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
