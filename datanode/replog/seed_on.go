//go:build seed

package replog

import "os"

var planted = seed(os.Getenv("ATOLL_SEED"))
