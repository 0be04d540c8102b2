package harness

import "runtime"

// run keeps one operating system thread for starting children.
func (s *spawner) run() {
	go func() {
		runtime.LockOSThread()
		for job := range s.jobs {
			job()
		}
	}()
}
