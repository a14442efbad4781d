package datanode

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/atolldb/atoll/datanode/command"
	"github.com/atolldb/atoll/datanode/datatype"
	"github.com/atolldb/atoll/datanode/resp"
	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/rpc/mtls"
	"github.com/atolldb/atoll/rpc/tlsfiles"
)

// MemTables is how many memtables of Config.MemTableBytes a node may hold beside its caches.
const MemTables = store.MemTables

// Config is what a data node is made of.
type Config struct {
	Dir         string // exists; belongs to this process alone
	NodeID      string
	Version     string
	RESPAddr    string // advertised, host:port
	ClusterAddr string // advertised, host:port
	// Clients connect to these: in plain text, with TLS, and by a unix socket. At least one is set.
	RESPListener, RESPTLSListener, RESPSocket net.Listener
	RESPTLS                                   tlsfiles.Files
	Join                                      []string       // cluster addresses of metadata nodes
	Identity                                  *mtls.Identity // of the process; nil: the cluster port is plain text
	// DiscardData throws away rows of another history instead of refusing to join.
	DiscardData bool
	// BeginEmpty begins an empty history if this node is the primary and its disk is empty.
	BeginEmpty bool
	// KeepJoining tries again where the cluster refuses the node, instead of ending: the process runs a
	// metadata node too, which the way out may need.
	KeepJoining bool

	BlockCacheBytes int64
	RowCacheBytes   int
	MemTableBytes   int
	SegmentBytes    int64         // of the log
	RetainBytes     int64         // of the log
	RetainAge       time.Duration // of the log
	ReserveBytes    uint64        // of free disk, below which writes are refused
	SyncRateBytes   int64         // per second, that one full sync may send; 0: no bound
	SnapshotIdle    time.Duration // how long a checkpoint waits for its sink to come back
	SavesKept       int           // saves that stay; the oldest goes
	Packed          datatype.Limits
	Edge            resp.Limits
	Run             command.Limits // ForwardWrites among them

	Log *slog.Logger
	// Shutdown begins to stop the process, for SHUTDOWN; nil refuses that.
	Shutdown func()
	Fatal    func(error) // ends the process when what the disk holds is unknown
}

// Defaults are the sizes that Config takes where it says nothing.
var Defaults = Config{
	BlockCacheBytes: 256 << 20,
	RowCacheBytes:   512 << 20,
	MemTableBytes:   16 << 20,
	SegmentBytes:    64 << 20,
	RetainBytes:     1 << 30,
	RetainAge:       24 * time.Hour,
	ReserveBytes:    256 << 20,
	SnapshotIdle:    2 * time.Minute,
	SavesKept:       2,
}

// syncEvery is well under the second that async durability promises.
const syncEvery = 200 * time.Millisecond

func or[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// complete fills in defaults and checks the rest.
func (c *Config) complete() error {
	or(&c.BlockCacheBytes, Defaults.BlockCacheBytes)
	or(&c.RowCacheBytes, Defaults.RowCacheBytes)
	or(&c.MemTableBytes, Defaults.MemTableBytes)
	or(&c.SegmentBytes, Defaults.SegmentBytes)
	or(&c.RetainBytes, Defaults.RetainBytes)
	or(&c.RetainAge, Defaults.RetainAge)
	or(&c.ReserveBytes, Defaults.ReserveBytes)
	or(&c.SnapshotIdle, Defaults.SnapshotIdle)
	or(&c.SavesKept, Defaults.SavesKept)
	or(&c.Packed, datatype.DefaultLimits)
	switch {
	case c.Dir == "", c.NodeID == "", c.RESPAddr == "", c.ClusterAddr == "", c.RESPListener == nil && c.RESPTLSListener == nil && c.RESPSocket == nil, c.Log == nil, c.Fatal == nil:
		return errors.New("data node: the configuration is incomplete")
	case c.MemTableBytes < 1<<20 || c.MemTableBytes > 1<<30:
		return fmt.Errorf("data node: memtable size of %d bytes is not in 1 MiB to 1 GiB", c.MemTableBytes)
	case c.SegmentBytes < 1<<20:
		return fmt.Errorf("data node: log segment size of %d bytes is under 1 MiB", c.SegmentBytes)
	}
	return nil
}
