package harness

import "runtime"

// run keeps one operating system thread, which starts all children.
func (s *spawner) run() {
	go func() {
		runtime.LockOSThread()
		for job := range s.jobs {
			job()
		}
	}()
}
