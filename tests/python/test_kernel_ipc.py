"""jupyter_kernel_test over ipc, which is how Colab starts kernels."""

import jupyter_kernel_test

from kernel_samples import Samples, Welcome


class TestKernelIpc(Samples, jupyter_kernel_test.KernelTests):
    transport = "ipc"


class TestWelcomeIpc(Welcome, jupyter_kernel_test.IopubWelcomeTests):
    transport = "ipc"
