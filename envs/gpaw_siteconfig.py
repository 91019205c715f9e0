# GPAW build settings: serial, with native PBE and bundled linear algebra, so that gcc alone suffices.
mpi = False
nolibxc = True
noblas = True
fftw = False
