// wgpu does not know the browser's "subgroups" feature, so the device that it asks for next is asked for with it here.
// Returns the lanes of a software adapter's subgroups where kernels can rely on one number, else 0.
export async function askForSubgroups() {
  const adapter = await navigator.gpu?.requestAdapter({ powerPreference: 'high-performance' });
  const { subgroupMinSize: lanes, subgroupMaxSize: most, architecture, isFallbackAdapter } = adapter?.info ?? {};
  const software = isFallbackAdapter || architecture === 'swiftshader';
  if (!software || !adapter.features.has('subgroups') || lanes !== most) {
    return 0;
  }
  const plain = GPUAdapter.prototype.requestDevice;
  GPUAdapter.prototype.requestDevice = function (descriptor = {}) {
    GPUAdapter.prototype.requestDevice = plain;
    const requiredFeatures = [...(descriptor.requiredFeatures ?? []), 'subgroups'];
    return plain.call(this, { ...descriptor, requiredFeatures });
  };
  return lanes;
}
