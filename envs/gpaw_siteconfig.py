# GPAW build settings: serial, with native PBE and bundled linear algebra, so that only gcc is needed.
mpi = False
nolibxc = True
noblas = True
fftw = False
