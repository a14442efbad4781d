package datanode

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/atolldb/atoll/datanode/replication"
	"github.com/atolldb/atoll/datanode/replog"
	"github.com/atolldb/atoll/rpc/atollpb"
	"github.com/atolldb/atoll/rpc/atomicfile"
	"google.golang.org/protobuf/encoding/protojson"
)

// identity is what a node knows of itself before it has spoken with anybody. It is kept in
// identity.json, replaced by temp, fsync, rename, fsync of the directory.
type identity struct {
	Format      int             `json:"format"`
	NodeID      string          `json:"node_id"`
	Incarnation string          `json:"incarnation"` // new for each wiped or first-started disk
	ClusterID   string          `json:"cluster_id,omitempty"`
	HasData     bool            `json:"has_data,omitempty"`
	Joined      json.RawMessage `json:"joined,omitempty"` // the last JoinResponse
	Checksum    string          `json:"checksum"`         // CRC-32C in hex of the record with an empty checksum
}

const (
	identityFormat = 1
	identityFile   = "identity.json"
)

var (
	errFormat   = errors.New("the data node's identity has an unknown format")
	errIdentity = errors.New("the data node's identity is damaged")
	errCluster  = errors.New("the data directory belongs to another cluster")
)

// loadIdentity reads the identity, or makes that of a first start.
func loadIdentity(dir, nodeID string) (identity, error) {
	path := filepath.Join(dir, identityFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		id := identity{Format: identityFormat, NodeID: nodeID, Incarnation: newIncarnation()}
		return id, id.save(dir)
	}
	if err != nil {
		return identity{}, fmt.Errorf("read the node's identity: %w", err)
	}
	id, err := parseIdentity(b)
	if err != nil {
		return identity{}, fmt.Errorf("read %s: %w", path, err)
	}
	if id.NodeID != nodeID {
		return identity{}, fmt.Errorf("node id: %s belongs to node %s, not %s", path, id.NodeID, nodeID)
	}
	return id, nil
}

func parseIdentity(b []byte) (identity, error) {
	var id identity
	if err := json.Unmarshal(b, &id); err != nil {
		return identity{}, fmt.Errorf("%w: %w", errIdentity, err)
	}
	if id.Format != identityFormat { // before the checksum, which another format may make otherwise
		return identity{}, fmt.Errorf("%w: format %d, this program reads format %d", errFormat, id.Format, identityFormat)
	}
	want := id.Checksum
	if _, err := id.seal(); err != nil || id.Checksum != want {
		return identity{}, fmt.Errorf("%w: its checksum doesn't match", errIdentity)
	}
	return id, nil
}

// seal sets the checksum, and returns the file's content.
func (id *identity) seal() ([]byte, error) {
	id.Checksum = ""
	b, err := json.Marshal(id)
	if err != nil {
		return nil, err
	}
	id.Checksum = fmt.Sprintf("%08x", replog.Checksum(b))
	return json.MarshalIndent(id, "", "  ")
}

func (id *identity) save(dir string) error {
	b, err := id.seal()
	if err != nil {
		return err
	}
	if err := atomicfile.Write(filepath.Join(dir, identityFile), append(b, '\n')); err != nil {
		return fmt.Errorf("write the node's identity: %w", err)
	}
	return nil
}

// joined returns the placement that the node was told when it last joined.
func (id *identity) joined() *atollpb.JoinResponse {
	r := new(atollpb.JoinResponse)
	if len(id.Joined) > 0 && protojson.Unmarshal(id.Joined, r) != nil {
		return new(atollpb.JoinResponse) // the metadata service tells it again
	}
	return r
}

// discardFile marks a directory whose content is being thrown away: a half of it means nothing.
const discardFile = "DISCARDING"

// prepareDir makes the directory this user's alone, since the stored view holds the key of the tokens,
// and ends a discarding that was cut short.
func prepareDir(dir string) error {
	if err := os.Chmod(dir, 0o700); err != nil {
		return fmt.Errorf("prepare data directory: %w", err)
	}
	if _, err := os.Stat(filepath.Join(dir, discardFile)); err == nil {
		return discardData(dir)
	}
	return nil
}

// discardData removes everything of the node but its id: a disk that starts anew. A crash in between is
// made good by the next start.
func discardData(dir string) error {
	mark := filepath.Join(dir, discardFile)
	f, err := os.OpenFile(mark, os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		err = errors.Join(f.Sync(), f.Close(), syncDir(dir))
	}
	if err != nil {
		return fmt.Errorf("discard data: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("discard data: %w", err)
	}
	for _, e := range entries {
		if e.Name() == discardFile || replication.IsSaves(e.Name()) { // a save is the operator's, and of the rows as they were
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("discard data: %w", err)
		}
	}
	if err := errors.Join(syncDir(dir), os.Remove(mark), syncDir(dir)); err != nil {
		return fmt.Errorf("discard data: %w", err)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// bootID identifies the machine's boot; empty where the system doesn't tell.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
