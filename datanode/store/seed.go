package store

import (
	"context"

	"github.com/atolldb/atoll/datanode/replog"
	"github.com/cockroachdb/pebble/v2"
)

// seed is a bug on purpose. A build with the tag "seed" has the one that the environment's ATOLL_SEED names; every
// other build has none, and no code for any. TestSeededBugs in integration/ requires that a test fails with each.
type seed string

const (
	noSeed seed = ""

	seedLocalNoSync   seed = "store/localnosync"   // Local is acknowledged without an fsync
	seedApplyFirst    seed = "store/applyfirst"    // an entry is applied before it is appended
	seedAppendIgnored seed = "store/appendignored" // a run is acknowledged although its entry could not be appended
	seedNoLogFirst    seed = "store/nologfirst"    // Pebble's files are fsynced before the log
	seedMarkerOrder   seed = "store/markerorder"   // Pebble's own order of MANIFEST and marker
	seedForgetExpires seed = "store/forgetexpires" // the counter of keys that expire is not kept
	seedPositionAlone seed = "store/positionalone" // a position is stored without the counters that changed
	seedPositionEarly seed = "store/positionearly" // a position is stored before the rows of its entry
	seedVersions      seed = "store/versions"      // the highest version of a replayed entry is not taken over
	seedStaleFill     seed = "store/stalefill"     // a cache fill is kept although the shard saw a write
	seedPurgeRows     seed = "store/purgerows"     // a purge deletes no rows
	seedExcise        seed = "store/excise"        // the space of a purge is given back by Pebble's Excise
	seedNoteEarly     seed = "store/noteearly"     // a MANIFEST is noted as fsynced before it is
	seedDirSync       seed = "store/dirsync"       // a directory that can't be fsynced is Pebble's to deal with
	seedWatchBlind    seed = "store/watchblind"    // a commit doesn't tell those that watch its keys
)

// early is what seedPositionEarly does.
func (s *Store) early(e *replog.Entry) error {
	was := s.applied.Load()
	defer s.applied.Store(was)
	st := *was
	st.Epoch, st.Index, st.Versions = e.Epoch, e.Index, max(st.Versions, e.Versions)
	s.applied.Store(&st)
	return s.storePosition()
}

// excise is what seedExcise does.
func (s *Store) excise(ctx context.Context, prefix, end []byte) error {
	return s.db.Excise(ctx, pebble.KeyRange{Start: prefix, End: end})
}
