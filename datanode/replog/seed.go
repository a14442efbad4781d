package replog

// seed is a bug on purpose. A build with the tag "seed" has the one that the environment's ATOLL_SEED names; every
// other build has none, and no code for any. TestSeededBugs in integration/ requires that a test fails with each.
type seed string

const (
	noSeed seed = ""

	seedNoSync      seed = "replog/nosync"      // Sync leaves the segments alone
	seedNoDirSync   seed = "replog/nodirsync"   // Sync leaves the directory of a new segment alone
	seedSecondSync  seed = "replog/secondsync"  // a failed fsync is forgotten, and the next one believed
	seedNoUnwrite   seed = "replog/nounwrite"   // a write that failed is not taken back
	seedAnyChecksum seed = "replog/anychecksum" // a record is taken whatever its checksum
	seedCutShort    seed = "replog/cutshort"    // the last whole record is cut off with the torn tail
	seedReadTorn    seed = "replog/readtorn"    // a header that can't be read is taken for a torn one
)
